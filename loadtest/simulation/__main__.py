"""`make simulate`: runs all scenarios, and writes the tables and pictures of docs/admission.md."""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from loadtest.simulation import plots, report, scenarios
from loadtest.simulation.results import Attempt, Results
from loadtest.simulation.run import POLICIES, simulate
from loadtest.simulation.scenarios import Scenario
from loadtest.simulation.workload import Lengths
from loadtest.statistics import jain, quantile
from server.admission.classes import PriorityClass

DOCS = Path(__file__).parents[2] / "docs"
LOADS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
TRACE_LOADS = (0.5, 1.0, 1.5, 2.0, 3.0)
# Of the overloads, those whose rows stand in the document; all are printed and drawn.
DOCUMENTED = (1.0, 2.0, 10.0)
COME_BACK = ("burst", "burst on steady load", "sustained", "half")
# What else vLLM's cap of tokens could be computed from, in seconds, and for which scenarios.
CAPS = (10.0, 5.0, 3.0, 1.5)
CAPPED: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("overload", (2.0,)),
    ("overload", (10.0,)),
    ("flood", ()),
    ("long_among_short", ()),
    ("cached_agents", ()),
)
# (builder's name, its arguments): what a worker process can be told.
Job = tuple[str, tuple[object, ...], str, int]


def scenario(name: str, arguments: tuple[object, ...]) -> Scenario | None:
    """A scenario by the name of its builder; `reference` is an overload of the embedded checkpoint's engine."""
    if name == "reference":
        prompt, output = Lengths(400, 0.8, most=8000), Lengths(120, 0.6, most=1000)
        return scenarios.overload(float(str(arguments[0])), scenarios.reference_engine(), prompt, output)
    if name == "capped":
        return scenarios.capped(*arguments)  # type: ignore[arg-type]
    built = getattr(scenarios, name)(*arguments)
    assert built is None or isinstance(built, Scenario)
    return built


def run(job: Job) -> Results | None:
    """One scenario with one policy; None where its trace is not at hand."""
    name, arguments, policy, seed = job
    chosen = scenario(name, arguments)
    if chosen is None:
        return None
    results = simulate(chosen.world, chosen.requests(seed), policy, chosen.duration, 60.0)
    for attempt in results.attempts:
        attempt.sequences = []
    return results


def jobs(seed: int) -> list[Job]:
    """All runs."""
    kinds: list[tuple[str, tuple[object, ...]]] = [("overload", (load,)) for load in LOADS]
    kinds += [(name, ()) for name in ("flood", "long_among_short", "backfill", "cached_agents", "drift")]
    kinds += [("replay", (trace, load)) for trace in scenarios.TRACE_FILES for load in TRACE_LOADS]
    kinds += [("reference", (2.0,)), ("reference", (10.0,))]
    found: list[Job] = [(name, arguments, policy, seed) for name, arguments in kinds for policy in POLICIES]
    found += [("capped", (name, arguments, cap), "vLLM's caps", seed) for name, arguments in CAPPED for cap in CAPS]
    return found + [("come_back", (kind,), POLICIES[0], seed) for kind in COME_BACK]


HEAD = (
    "scenario",
    "policy",
    "requests",
    "goodput/s",
    "× FCFS",
    "× caps",
    "TTFT p50",
    "TTFT p99",
    "refused %",
    "evicted %",
    "Jain",
    "forecast error %",
)


def rows(title: str, runs: dict[str, Results]) -> list[list[object]]:
    """A scenario's lines of the table."""
    found: list[list[object]] = []
    good = {name: report.goodput(each) for name, each in runs.items()}
    for name, each in runs.items():
        times = report.ttfts(each.attempts)
        found.append(
            [
                title,
                name,
                len(each.attempts),
                good[name],
                good[name] / good["unbounded FCFS"] if good["unbounded FCFS"] else float("inf"),
                good[name] / good["vLLM's caps"] if good["vLLM's caps"] else float("inf"),
                quantile(times, 0.5),
                quantile(times, 0.99),
                100 * report.refused(each.attempts),
                100 * report.evicted(each.attempts),
                jain(report.shares(each, 15.0, min(45.0, each.duration)).values()),
                100 * report.forecast_error(each.attempts),
            ]
        )
    return found


GROUPS = {
    "flood": {"polite": "the nine polite tenants", "other": "the flooder"},
    "long_among_short": {"polite": "short prompts", "other": "long prompts"},
    "backfill": {"polite": "interactive", "other": "batch"},
}


def polite(attempt: Attempt) -> bool:
    """Whether a request is of those that must not suffer."""
    request = attempt.request
    return request.tenant not in ("flooder", "documents", "attacker") and request.priority is not PriorityClass.BATCH


def group_rows(name: str, runs: dict[str, Results]) -> list[list[object]]:
    """The same by group of tenants."""
    found: list[list[object]] = []
    for policy, each in runs.items():
        for label, belongs in ((GROUPS[name]["polite"], True), (GROUPS[name]["other"], False)):
            mine = [attempt for attempt in each.attempts if polite(attempt) is belongs]
            times = report.ttfts(mine)
            in_time = sum(map(report.met, mine)) / len(mine)
            tokens = sum(2 * attempt.made for attempt in mine) + sum(
                attempt.request.prompt - attempt.cached for attempt in mine if attempt.first_token is not None
            )
            found.append(
                [
                    name.replace("_", " "),
                    policy,
                    label,
                    len(mine),
                    100 * in_time,
                    quantile(times, 0.5),
                    quantile(times, 0.99),
                    tokens // 1000,
                ]
            )
    return found


GROUPS_HEAD = ("scenario", "policy", "group", "requests", "in time %", "TTFT p50", "TTFT p99", "1000 token units")
BACK_HEAD = ("come back", "tries", "came back at Retry-After", "let in then", "%")
CAPS_HEAD = ("scenario", "ours", *(f"caps, {cap:g} s" for cap in CAPS))


def caps_rows(found: dict[Job, Results | None], seed: int) -> list[list[object]]:
    """Goodput with other figures for vLLM's cap; in brackets the part of those in time that must not suffer."""

    def cell(results: Results | None) -> str:
        assert results is not None
        mine = [each for each in results.attempts if polite(each)]
        good = f"{report.goodput(results):.1f}"
        in_time = 100 * sum(map(report.met, mine)) / len(mine)
        return good if len(mine) == len(results.attempts) else f"{good} ({in_time:.0f} %)"

    rows: list[list[object]] = []
    for name, arguments in CAPPED:
        title = " ".join([name.replace("_", " "), *(f"{each:g}×" for each in arguments)])  # type: ignore[str-format]
        capped = [cell(found["capped", (name, arguments, cap), "vLLM's caps", seed]) for cap in CAPS]
        rows.append([title, cell(found[name, arguments, POLICIES[0], seed]), *capped])
    return rows


def main() -> None:
    """Runs everything."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of admission.md and pictures/")
    options = parser.parse_args()
    started = time.monotonic()
    everything = jobs(options.seed)
    with ProcessPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        found = dict(zip(everything, pool.map(run, everything), strict=True))

    def of(name: str, *arguments: object) -> dict[str, Results]:
        runs = {policy: found[name, arguments, policy, options.seed] for policy in POLICIES}
        return {policy: each for policy, each in runs.items() if each is not None}

    lines, shown = [], []
    for load in LOADS:
        lines += rows(f"overload {load:g}×", of("overload", load))
        shown += lines[-len(POLICIES) :] if load in DOCUMENTED else []
    for name, title in (
        ("flood", "one-tenant flood"),
        ("long_among_short", "long among short"),
        ("backfill", "batch backfill"),
        ("cached_agents", "cache-heavy agents"),
        ("drift", "slow drift"),
    ):
        shown += rows(title, of(name))
    for load in (2.0, 10.0):
        shown += rows(f"reference engine {load:g}×", of("reference", load))
    traces = [each for each in scenarios.TRACE_FILES if of("replay", each, 1.0)]
    for trace in traces:
        for load in TRACE_LOADS:
            lines += rows(f"{trace} {load:g}×", of("replay", trace, load))
            shown += lines[-len(POLICIES) :] if load == 2.0 else []
    groups = [row for name in GROUPS for row in group_rows(name, of(name))]
    back = {kind: found["come_back", (kind,), POLICIES[0], options.seed] for kind in COME_BACK}
    tables = {
        "scenarios": report.table(HEAD, shown),
        "groups": report.table(GROUPS_HEAD, groups),
        "caps": report.table(CAPS_HEAD, caps_rows(found, options.seed)),
        "come back": report.table(BACK_HEAD, [back_row(kind, each) for kind, each in back.items()]),
    }
    print("\n\n".join([report.table(HEAD, lines), *tables.values()]))
    report.put(options.docs / "admission.md", tables)
    draw(options.docs / "pictures", of, traces, back)
    print(f"seed {options.seed}, {time.monotonic() - started:.0f} s; tables and pictures are in {options.docs.name}/")


def back_row(kind: str, results: Results | None) -> list[object]:
    """How many came back when they were told to, and were let in then."""
    assert results is not None
    back, let_in = report.kept_promises(results.attempts)
    return [kind, len(results.attempts), back, let_in, 100 * let_in / max(back, 1)]


def draw(folder: Path, of: object, traces: list[str], back: dict[str, Results | None]) -> None:
    """All pictures."""
    assert callable(of)
    folder.mkdir(parents=True, exist_ok=True)
    full = scenarios.capacity(scenarios.NODE)

    def at(name: str) -> Path:
        return folder / f"admission-{name}.png"

    plots.against_load(
        at("overload"), "Ten equal tenants, from half to ten times what the engine can do", LOADS,
        [of("overload", load) for load in LOADS], full,
    )  # fmt: skip
    both = {"polite": polite, "other": lambda each: not polite(each)}
    for name, title in (
        ("flood", "One tenant sends five times the engine's capacity from 15 to 45 s"),
        ("long_among_short", "Prompts of some 120,000 tokens among chats"),
        ("backfill", "Batch work behind an interactive load of 30 %, 110 % and 30 %"),
    ):
        groups = {GROUPS[name][key]: belongs for key, belongs in both.items()}
        draws = plots.distribution if name == "long_among_short" else plots.ttft_over_time
        draws(at(name.replace("_", "-")), title, of(name), groups)
    plots.served(
        at("flood-shares"), "What the flooder and the others are served", of("flood"),
        {"the nine polite tenants": lambda t: t != "flooder", "the flooder": lambda t: t == "flooder"},
    )  # fmt: skip
    plots.served(
        at("backfill-shares"), "Batch fills what interactive requests leave", of("backfill"),
        {"interactive": lambda t: t != "batch", "batch": lambda t: t == "batch"},
    )  # fmt: skip
    groups = {"all agents": lambda each: True}
    plots.ttft_over_time(at("agents"), "Agents whose prompts are mostly cached", of("cached_agents"), groups)
    plots.drift(
        at("drift"), "80 % load on an engine that slowly gets 2.5 times slower", of("drift")["ours"],
        scenarios.drift().world.speed,
    )  # fmt: skip
    for trace in traces:
        capacity = scenarios.trace_capacity(trace)
        plots.against_load(
            at(trace.lower().replace(" ", "-")), f"{trace} trace with an attacker", TRACE_LOADS,
            [of("replay", trace, load) for load in TRACE_LOADS], capacity,
        )  # fmt: skip
    runs = {kind: each for kind, each in back.items() if each is not None}
    plots.promises(at("retry-after"), "Refused clients come back exactly when they were told to", runs)


if __name__ == "__main__":
    main()
