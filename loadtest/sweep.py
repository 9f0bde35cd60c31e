"""The same mix of requests at growing rates: the knee, and the highest rate that meets the objective."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from loadtest.plan import Setting
from loadtest.results import INVALID, MISSED_SLO, OK, Result, result
from loadtest.run import Server, Shown, run
from loadtest.scenario_schema import Scenario, Sweep, rates

# Where less than this part of what comes gets through in the same time, the server is past its knee.
_THROUGH = 0.9
_BAD_ENOUGH = 2
Said = Callable[[dict[str, Any]], None]


def at_rate(scenario: Scenario, total: float) -> Scenario:
    """The scenario with all its tenants together at `total` requests a second, in the proportions that it says."""
    parts = [float(str(rates(each.arrivals)[0]).removesuffix("x")) for each in scenario.tenants]
    tenants = [
        tenant.with_values(arrivals=tenant.arrivals.with_values(rate=total * part / sum(parts)))
        for tenant, part in zip(scenario.tenants, parts, strict=True)
    ]
    return scenario.with_values(tenants=tenants)


def point(found: Result, rate: float) -> dict[str, Any]:
    """What a run at `rate` adds to the curve."""
    figures = found["figures"]
    return {
        "rate": rate,
        "offered": figures["offered_per_second"],
        "throughput": figures["throughput_per_second"],
        "goodput": figures["goodput_per_second"],
        "attainment": figures["attainment"],
        "refused_share": figures["refused_share"],
        "ttft_p50": figures["ttft"].get("p50"),
        "ttft_p99": figures["ttft"].get("p99"),
        "itl_p99": figures["itl"].get("p99"),
        "output_tokens": figures["tokens_per_second"]["output"],
        "valid": found["validity"]["valid"],
        "reasons": found["validity"]["reasons"],
    }


def sweep(
    server: Server, scenario: Scenario, known: Setting, *, workers: int | None = None,
    shown: Shown | None = None, said: Said | None = None,
) -> Result:  # fmt: skip
    """Rates from low to high, until two in a row miss; then some between the last good and the first bad one.

    The result is that of the best rate, with all points under `sweep`. Raises Misfit.
    """
    asked = scenario.sweep or Sweep()
    points: list[dict[str, Any]] = []
    best: Result | None = None
    last: Result | None = None

    def measured(rate: float) -> bool:
        nonlocal best, last
        # Words of its own for each rate: what the server still has in its cache must not make the next one quicker.
        ours = replace(known, nonce=f"{known.nonce}/{len(points)}")
        last = result(run(server, at_rate(scenario, rate), ours, workers=workers, shown=shown), server)
        points.append(point(last, rate))
        if said is not None:
            said(points[-1])
        good = bool(points[-1]["valid"] and points[-1]["attainment"] >= asked.attainment)
        if good and rate > highest():
            best = last
            points[-1]["met"] = True
        return good

    def highest() -> float:
        return max((each["rate"] for each in points if each.get("met")), default=0.0)

    rate, bad = asked.first, 0
    while rate <= asked.most and bad < _BAD_ENOUGH and (not points or points[-1]["valid"]):
        bad = 0 if measured(rate) else bad + 1
        rate *= asked.factor
    low = highest()
    high = min((each["rate"] for each in points if each["rate"] > low), default=0.0)
    for _ in range(asked.refine if low and high else 0):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if measured(middle) else (low, middle)
    points.sort(key=lambda each: each["rate"])
    assert last is not None
    found = best or last
    found["sweep"] = {
        "points": points,
        "attainment": asked.attainment,
        "slo_rate": highest() or None,
        "goodput_at_slo_rate": best["figures"]["goodput_per_second"] if best else None,
        "knee": knee(points),
        "limited_by_generator": bool(points) and not all(each["valid"] for each in points),
    }
    found["exit_code"] = OK if best else MISSED_SLO if all(each["valid"] for each in points) else INVALID
    return found


def knee(points: list[dict[str, Any]]) -> float | None:
    """The highest rate below the first at which throughput no longer follows what is offered; None if no rate is."""
    found = None
    for each in points:
        if not each["valid"] or each["throughput"] < _THROUGH * each["offered"]:
            return found
        found = each["rate"]
    return found
