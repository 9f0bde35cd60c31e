"""Whether a run measured the server, or the machine that sent the load."""

from __future__ import annotations

from typing import Any

from loadtest.measures import quantiles
from loadtest.run import Run


def validity(run: Run) -> dict[str, Any]:
    """`valid`, `reasons` why not, and what the sending processes say of themselves (seconds; CPU time a second)."""
    gates, limit = run.scenario.gates, run.scenario.gates.lag_p99_ms / 1000
    # A conversation's later turns are sent when the answer before them has come: no plan is late by them.
    first = [each for each in run.records if each.turn == 0]
    lag, loop = quantiles(each.lag for each in first), quantiles(p for part in run.parts for p in part.pulses)
    cpu = max((part.cpu_seconds / part.seconds for part in run.parts if part.seconds > 0), default=0.0)
    planned = sum(part.planned for part in run.parts)
    reasons = []
    if not first:
        reasons.append("no request was sent: the scenario has none in its duration")
    if lag.get("p99", 0.0) > limit:
        reasons.append(
            f"the sender was late: p99 of its lag is {1000 * lag['p99']:.1f} ms, more than {1000 * limit:g} ms"
        )
    if loop.get("p99", 0.0) > limit:
        reasons.append(
            f"the receiver was late: p99 of its event loop's lag is {1000 * loop['p99']:.1f} ms, "
            f"more than {1000 * limit:g} ms"
        )
    if cpu > gates.cpu:
        reasons.append(f"a sending process used {cpu:.0%} of a core, more than {gates.cpu:.0%}: try more --workers")
    if planned != len(first):
        reasons.append(f"{planned - len(first)} of {planned} requests were not sent")
    return {
        "valid": not reasons,
        "reasons": reasons,
        "lag": lag,
        "loop_lag": loop,
        "cpu_share": cpu,
        "workers": len(run.parts),
        "connections": sum(part.connections for part in run.parts),
    }
