"""Figures of a run, for all its requests and for each tenant's."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from loadtest.histogram import Histogram
from loadtest.record import REFUSALS, Record
from loadtest.scenario_schema import Objective, Scenario
from loadtest.statistics import jain, max_min, quantile_of_sorted

MET, MISSED, LEFT_OUT = "met", "missed", "left out"
PARTS = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
Figures = dict[str, Any]


def verdict(record: Record, slo: Objective) -> str:
    """Whether a request counts for goodput.

    Refusals, errors and deadlines that passed are misses, whatever came of a retry. Who went away by itself is left
    out, unless its first token was late already.
    """
    if record.refused or record.error:
        return MISSED
    if record.cancelled:
        waited = record.ttft if record.ttft is not None else record.e2e
        return MISSED if slo.ttft is not None and waited > slo.ttft else LEFT_OUT
    return MET if _in_time(record, slo, 0.0) else MISSED


def met_when_told(record: Record, slo: Objective) -> bool:
    """Whether a request that was refused came back, and met the objective as if it had been meant for that moment."""
    return len(record.tries) > 1 and record.finished and _in_time(record, slo, record.tries[-1].sent)


def _in_time(record: Record, slo: Objective, since: float) -> bool:
    limits = ((record.ttft, slo.ttft), (record.e2e, slo.e2e))
    late = any(limit is not None and value is not None and value - since > limit for value, limit in limits)
    slow = slo.tpot is not None and record.tpot is not None and record.tpot > slo.tpot
    # An answer without a token has no first token in time.
    silent = record.ttft is None and slo.ttft is not None
    return not (late or slow or silent)


def quantiles(values: Iterable[float]) -> dict[str, float]:
    """p50 to p99.9, mean and most; empty of nothing."""
    ordered = sorted(values)
    if not ordered:
        return {}
    found = {name: quantile_of_sorted(ordered, part) for name, part in PARTS.items()}
    return {**found, "mean": sum(ordered) / len(ordered), "max": ordered[-1], "count": len(ordered)}


def gaps(records: Iterable[Record]) -> Histogram:
    """Times between the pieces of each answer (ITL)."""
    found = Histogram()
    for record in records:
        for sooner, later in itertools.pairwise(record.times):
            found.add(later - sooner)
    return found


def figures(
    records: Sequence[Record], verdicts: Sequence[str], everything: Sequence[Record], start: float, end: float,
    itl: Histogram, kept: int = 0,
) -> Figures:  # fmt: skip
    """Figures of requests that were meant to come between `start` and `end` (seconds from the start of the run).

    What the server made between the two is counted over `everything`, those that came earlier too. `kept` is how many
    of them met their objective when they came back (`met_when_told`).
    """
    seconds = end - start
    met, left_out = verdicts.count(MET), verdicts.count(LEFT_OUT)
    refused = [each for each in records if each.refused]
    reasons = Counter(_first_reason(each) for each in refused)
    errors = Counter(each.code or f"http_{each.status}" for each in records if each.error)
    finished = sum(each.finished for each in records)
    judged = len(records) - left_out
    # Those whose refusal was made good by a retry waited because they were told to; they have their own figures.
    served = [each for each in records if not each.refused]
    prompt, cached = sum(each.prompt_tokens for each in records), sum(each.cached_tokens for each in records)
    return {
        "requests": len(records),
        "offered_per_second": len(records) / seconds,
        "finished": finished,
        "finished_per_second": finished / seconds,
        "throughput_per_second": sum(each.finished and start <= each.at + each.e2e < end for each in everything)
        / seconds,
        "goodput_per_second": met / seconds,
        "goodput_with_retries_per_second": (met + kept) / seconds,
        "attainment": met / judged if judged else float("nan"),
        "left_out": left_out,
        "refused": len(refused),
        "refused_share": len(refused) / len(records) if records else 0.0,
        "refusals": dict(reasons.most_common()),
        "refusal_seconds": quantiles(each.tries[0].ended for each in refused),
        "errors": dict(errors.most_common()),
        "cancelled": sum(each.cancelled for each in records),
        "ttft": quantiles(each.ttft for each in served if each.ttft is not None),
        "itl": _of_histogram(itl),
        "tpot": quantiles(each.tpot for each in served if each.tpot is not None),
        "e2e": quantiles(each.e2e for each in served if each.finished),
        "retry_after": {**retry_after(records), "met": kept},
        "tokens_per_second": tokens_per_second(everything, start, end),
        "cached_share": cached / prompt if prompt else float("nan"),
        "tokens_counted_by": "pieces" if any(each.counted for each in records) else "usage",
    }


def _first_reason(record: Record) -> str:
    # After a retry the code is that of the last try.
    status = record.tries[0].status
    return f"{status} {record.code}" if record.code and record.status == status else str(status)


def _of_histogram(histogram: Histogram) -> dict[str, float]:
    if not histogram.size:
        return {}
    return {**{name: histogram.quantile(part) for name, part in PARTS.items()}, "count": histogram.size}


def retry_after(records: Sequence[Record]) -> Figures:
    """How honest refusals are: what they told, and what became of those who came back just then."""
    refused = [each for each in records if each.refused]
    told = [each.tries[0].retry_after for each in refused if each.tries[0].retry_after is not None]
    back = [each for each in refused if len(each.tries) > 1]
    return {
        "told": len(told),
        "told_seconds": quantiles(told),
        "came_back": len(back),
        "let_in": sum(each.tries[1].status not in REFUSALS and each.tries[1].status != 0 for each in back),
        "let_in_at_last": sum(each.tries[-1].status == 200 for each in back),
    }


def tokens_per_second(records: Sequence[Record], start: float, end: float) -> dict[str, float]:
    """Tokens by kind that were made between `start` and `end`; a prompt's count when its first token comes."""
    prompt = cached = reasoning = answer = 0.0
    for each in records:
        if each.ttft is None:
            continue
        if start <= each.at + each.ttft <= end:
            prompt += each.prompt_tokens
            cached += each.cached_tokens
        inside = sum(start <= each.at + time <= end for time in each.times) / len(each.times)
        # Who was cut off was told no usage: then pieces are all that is known.
        made = each.completion_tokens or len(each.times)
        reasoning += inside * each.reasoning_tokens
        answer += inside * (made - each.reasoning_tokens)
    seconds = end - start
    return {
        "prompt": prompt / seconds,
        "cached": cached / seconds,
        "reasoning": reasoning / seconds,
        "answer": answer / seconds,
        "output": (reasoning + answer) / seconds,
    }


def fairness(scenario: Scenario, records: Sequence[Record], tenants: dict[str, Figures]) -> Figures:
    """Who was served how much, while all tenants came, and the worst that a well-behaved one had of it.

    A token of a prompt counts once, of an answer twice, as in VTC (Sheng et al., OSDI'24). `jain` is Jain's index
    over tokens for each tenant's weight. A tenant that asks for little lowers it though nobody wrongs it; so
    `jain_of_shares` is the index over tokens for what a max-min fair server would have given of all that it served.
    """
    start = max([scenario.warmup, *(each.arrivals.start for each in scenario.tenants)])
    end = min([scenario.duration, *(each.arrivals.end or scenario.duration for each in scenario.tenants)])
    service: dict[str, float] = {}
    demand: dict[str, float] = {}
    for tenant in scenario.tenants if end > start else ():
        mine = [each for each in records if each.tenant == tenant.name]
        service[tenant.name] = _service(mine, start, end)
        demand[tenant.name] = max(service[tenant.name], _demand(mine, records, start, end))
    weights = [each.weight for each in scenario.tenants if each.name in service]
    weighed = [each / weight for each, weight in zip(service.values(), weights, strict=True)]
    fair = max_min(sum(service.values()), list(demand.values()), weights)
    of_shares = [each / share for each, share in zip(service.values(), fair, strict=True) if share > 0]
    good = {each.name: tenants[each.name] for each in scenario.tenants if each.well_behaved and each.name in tenants}
    tails = {name: each["ttft"]["p99"] for name, each in good.items() if each["ttft"]}
    worst = max(tails, key=lambda name: tails[name], default=None)
    return {
        "jain": jain(weighed) if len(weighed) > 1 else None,
        "jain_of_shares": jain(of_shares) if len(weighed) > 1 else None,
        "service_per_second": service,
        "demand_per_second": demand,
        "worst_well_behaved": worst,
        "worst_well_behaved_ttft_p99": tails.get(worst) if worst else None,
        "least_attainment": min((each["attainment"] for each in good.values()), default=None),
    }


def _service(records: Sequence[Record], start: float, end: float) -> float:
    rates = tokens_per_second(records, start, end)
    return rates["prompt"] - rates["cached"] + 2 * rates["output"]


def _demand(mine: Sequence[Record], everyone: Sequence[Record], start: float, end: float) -> float:
    """Service a second that a tenant asked for: its requests, each as large as those of its that were served.

    Where none was, as large as everybody's.
    """
    served = [each for each in mine if each.finished] or [each for each in everyone if each.finished]
    if not served:
        return 0.0
    size = sum(each.prompt_tokens - each.cached_tokens + 2 * each.completion_tokens for each in served) / len(served)
    return size * sum(start <= each.at < end for each in mine) / (end - start)
