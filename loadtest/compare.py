"""Two results side by side: ratios, and how sure they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.results import Result
from loadtest.statistics import Draw, count_draw, quantile, quantile_draw, ratio_interval, sum_draw
from loadtest.strict import Misfit

Rows = dict[str, list[Any]]


@dataclass(frozen=True)
class Line:
    """One figure of both runs: B / A, and the interval that holds it with 95 % (of this load, on these servers)."""

    name: str
    a: float
    b: float
    low: float
    high: float

    @property
    def ratio(self) -> float:
        """B / A."""
        return self.b / self.a if self.a else float("nan")

    @property
    def differs(self) -> bool:
        """Whether 1 lies outside of the interval."""
        return not self.low <= 1 <= self.high if self.low == self.low else False


def counted(found: Result, tenant: str | None) -> Rows:
    """The requests that the run's figures are about."""
    rows, scenario = found["requests"], found["scenario"]
    names = {each["name"] for each in scenario["tenants"]}
    if tenant is not None and tenant not in names:
        raise Misfit(f"there is no tenant `{tenant}`; the run has {', '.join(sorted(names))}")
    keep = [
        scenario.get("warmup", 0.0) <= at < scenario["duration"] and tenant in (None, whose)
        for at, whose in zip(rows["at"], rows["tenant"], strict=True)
    ]
    return {name: [value for value, kept in zip(values, keep, strict=True) if kept] for name, values in rows.items()}


def compare(first: Result, second: Result, tenant: str | None = None, seed: int = 0) -> list[Line]:
    """All figures that both runs have. Raises Misfit for a tenant that one of them lacks."""
    a, b = counted(first, tenant), counted(second, tenant)
    seconds = [each["scenario"]["duration"] - each["scenario"].get("warmup", 0.0) for each in (first, second)]
    lines = []

    def add(name: str, one: float, other: float, draws: tuple[Draw, Draw]) -> None:
        if one == one and other == other:
            lines.append(Line(name, one, other, *ratio_interval(*draws, seed=seed)))

    for column, label in (("ttft", "TTFT"), ("tpot", "TPOT"), ("e2e", "end to end")):
        of_both = [_served(rows, column) for rows in (a, b)]
        for part_name, part in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
            one, other = (quantile(values, part) for values in of_both)
            add(
                f"{label} {part_name} (s)",
                one,
                other,
                (quantile_draw(of_both[0], part), quantile_draw(of_both[1], part)),
            )
    for name, counts in (("goodput (requests/s)", _met), ("refusals (requests/s)", _refusals)):
        per = [_rate(rows, counts, each) for rows, each in zip((a, b), seconds, strict=True)]
        add(name, per[0][0], per[1][0], (per[0][1], per[1][1]))
    tokens = [[float(each or 0) for each in rows["completion_tokens"]] for rows in (a, b)]
    scaled = [_scaled(sum_draw(values), 1 / each) for values, each in zip(tokens, seconds, strict=True)]
    add("output tokens/s", sum(tokens[0]) / seconds[0], sum(tokens[1]) / seconds[1], (scaled[0], scaled[1]))
    return lines


def _served(rows: Rows, column: str) -> list[float]:
    # As in the figures: who came back after a refusal waited because it was told to.
    return [
        value
        for value, tries, reason in zip(rows[column], rows["tries"], rows["finish_reason"], strict=True)
        if value is not None and len(tries) == 1 and tries[0] == 200 and (column != "e2e" or reason)
    ]


def _met(rows: Rows) -> int:
    return sum(each == "met" for each in rows["verdict"])


def _refusals(rows: Rows) -> int:
    return sum(bool(tries) and tries[0] in (429, 503, 529) for tries in rows["tries"])


def _rate(rows: Rows, counts: Callable[[Rows], int], seconds: float) -> tuple[float, Draw]:
    count, size = counts(rows), len(rows["at"])
    return count / seconds, _scaled(count_draw(count, size), 1 / seconds)


def _scaled(draw: Draw, factor: float) -> Draw:
    return lambda rng: factor * draw(rng)


def table(lines: Sequence[Line]) -> str:
    """For people; `*` marks what differs."""
    head = f"{'':26s} {'A':>10s} {'B':>10s} {'B / A':>8s}   95 % interval"
    rows = [
        f"{each.name:26s} {each.a:10.4g} {each.b:10.4g} {each.ratio:8.3f}   {each.low:.3f} to {each.high:.3f}"
        f"{' *' if each.differs else ''}"
        for each in lines
    ]
    return "\n".join([head, *rows])
