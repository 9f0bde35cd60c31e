"""Figures of a run."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from loadtest.simulation.policies import refusal
from loadtest.simulation.results import Attempt, Results
from server.admission.classes import PriorityClass

OBJECTIVES = {PriorityClass.INTERACTIVE: 10.0, PriorityClass.STANDARD: 30.0, PriorityClass.BATCH: 3600.0}


def met(attempt: Attempt) -> bool:
    """Whether the first token came in time, and the answer was not cut off by the server."""
    objective = attempt.request.ttft_seconds or OBJECTIVES[attempt.request.priority]
    return attempt.ttft is not None and attempt.ttft <= objective and not refusal(attempt.outcome)


def goodput(results: Results, attempts: Iterable[Attempt] | None = None) -> float:
    """Requests a second of the offered load that met their objective; every refusal is a miss."""
    return sum(map(met, results.attempts if attempts is None else attempts)) / results.duration


def ttfts(attempts: Iterable[Attempt]) -> list[float]:
    """Seconds to the first token of those that got one."""
    return [attempt.ttft for attempt in attempts if attempt.ttft is not None]


def refused(attempts: Sequence[Attempt]) -> float:
    """The part that the server refused, at the door or after a wait."""
    return sum(refusal(each.outcome) for each in attempts) / len(attempts) if attempts else 0.0


def evicted(attempts: Sequence[Attempt]) -> float:
    """The part that was let wait and then refused."""
    return sum(each.outcome.startswith("evicted_") for each in attempts) / len(attempts) if attempts else 0.0


def shares(results: Results, start: float, end: float) -> dict[str, float]:
    """Tokens served to each tenant from `start` to `end`, prompt tokens once and output tokens twice."""
    first = _tokens(results, start)
    return {tenant: tokens - first.get(tenant, 0.0) for tenant, tokens in _tokens(results, end).items()}


def _tokens(results: Results, at: float) -> dict[str, float]:
    return max((each for each in results.samples if each.at <= at), key=lambda each: each.at).tokens


def forecast_error(attempts: Iterable[Attempt]) -> float:
    """Median of the error of the forecast of the first token's time, as part of it (at least of a second)."""
    errors = [
        abs(each.ttft - each.predicted_ttft) / max(each.ttft, 1.0)
        for each in attempts
        if each.ttft is not None and each.predicted_ttft
    ]
    return statistics.median(errors) if errors else float("nan")


def kept_promises(attempts: Iterable[Attempt]) -> tuple[int, int]:
    """How many came back when they were told to, and how many of those were let into the engine then."""
    back = [each for each in attempts if each.tries > 1]
    return len(back), sum(each.admitted is not None for each in back)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *([_cell(each) for each in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def put(document: Path, tables: dict[str, str]) -> None:
    """Writes each table between the marks of its name, `<!-- table: NAME -->` and `<!-- end -->`.

    Raises ValueError where a table has no such place.
    """
    text = document.read_text(encoding="utf-8")
    for name, written in tables.items():
        place = re.compile(rf"(<!-- table: {re.escape(name)} -->\n\n).*?(\n\n<!-- end -->)", re.DOTALL)
        text, found = place.subn(lambda match, written=written: match[1] + written + match[2], text)
        if found != 1:
            raise ValueError(f"{document.name} has {found} places for the table {name!r}")
    document.write_text(text, encoding="utf-8")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if value != value else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)
