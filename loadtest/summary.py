"""A result in some lines, for the terminal."""

from __future__ import annotations

from typing import Any

from loadtest.results import Result


def summary(found: Result) -> str:
    """Plain text."""
    figures, valid = found["figures"], found["validity"]
    lines = [
        f"requests {figures['requests']}, {figures['offered_per_second']:.2f}/s offered, "
        f"{figures['finished_per_second']:.2f}/s finished, {figures['goodput_per_second']:.2f}/s in SLO "
        f"({_percent(figures['attainment'])})",
        *(
            _latency(label, figures[key])
            for key, label in (("ttft", "TTFT"), ("itl", "ITL"), ("tpot", "TPOT"), ("e2e", "end to end"))
        ),
        "tokens/s: " + ", ".join(f"{name} {value:,.0f}" for name, value in figures["tokens_per_second"].items()),
        f"cached {_percent(figures['cached_share'])} of the prompts",
    ]
    if figures["refused"]:
        lines.append(
            f"refused {figures['refused']} ({_percent(figures['refused_share'])}): {_counts(figures['refusals'])}"
        )
    back = figures["retry_after"]
    if back["came_back"]:
        lines.append(
            f"came back when they were told to: {back['came_back']}, let in then: {back['let_in']}, "
            f"in SLO from then on: {back['met']} (with them {figures['goodput_with_retries_per_second']:.2f}/s)"
        )
    if figures["errors"]:
        lines.append(f"errors: {_counts(figures['errors'])}")
    fair = found["fairness"]
    if fair["jain"] is not None:
        lines.append(f"Jain's index {fair['jain']:.3f} over tokens, {fair['jain_of_shares']:.3f} over fair shares")
    if fair["worst_well_behaved"] and len(found["tenants"]) > 1:
        lines.append(
            f"worst p99 TTFT of a well-behaved tenant {fair['worst_well_behaved_ttft_p99']:.3f} s "
            f"({fair['worst_well_behaved']})"
        )
    if "sweep" in found:
        sweep = found["sweep"]
        best = sweep["slo_rate"]
        told = f"{best:.2f} requests/s" if best else "none"
        knee = f"{sweep['knee']:.2f} requests/s" if sweep["knee"] else "below the first rate"
        lines.append(f"highest rate that meets the SLO: {told}; knee: {knee}")
    lag = valid["lag"]
    lines.append(
        f"sender: lag p99 {1000 * lag.get('p99', 0):.1f} ms, most {1000 * lag.get('max', 0):.1f} ms, "
        f"{valid['workers']} process(es), {valid['cpu_share']:.0%} of a core"
    )
    lines += [f"NOT VALID: {reason}" for reason in valid["reasons"]]
    lines += [f"NOT MET: {reason}" for reason in found["gates"]["reasons"]]
    return "\n".join(lines)


def _latency(label: str, values: dict[str, float]) -> str:
    if not values:
        return f"{label:10s} -"
    return f"{label:10s} " + ", ".join(f"{part} {values[part]:.4f}" for part in ("p50", "p90", "p99", "p99.9")) + " s"


def _percent(value: Any) -> str:
    return "-" if value is None or value != value else f"{100 * value:.1f} %"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
