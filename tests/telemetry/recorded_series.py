"""Series as a real Prometheus had them, written down in promtool's notation."""

from __future__ import annotations

import math
from typing import Any

STALE, MISSING = "stale", "_"


def notation(samples: list[float | None]) -> str:
    """The values of one series, one a step, None where there was none; runs of equal ones are folded.

    Where a series ends it is `stale`, as Prometheus marks it when a scrape fails, and not merely silent.
    """
    words: list[str] = []
    for number, value in enumerate(samples):
        if value is not None:
            words.append(_number(value))
        else:
            words.append(STALE if number and samples[number - 1] is not None else MISSING)
    folded: list[str] = []
    for word, times in _runs(words):
        if times == 1 or word == STALE:
            folded += [word] * times
        else:
            folded.append(f"_x{times}" if word == MISSING else f"{word}x{times - 1}")
    return " ".join(folded)


def series(name: str, labels: dict[str, str]) -> str:
    """A series as PromQL names it."""
    return name + "{" + ",".join(f'{key}="{labels[key]}"' for key in sorted(labels)) + "}"


def on_grid(result: dict[str, Any], begin: float, step: float, count: int) -> list[float | None]:
    """The values of one result of `query_range`, None where it has none."""
    found: list[float | None] = [None] * count
    for at, value in result["values"]:
        found[round((at - begin) / step)] = float(value)
    return found


def _runs(words: list[str]) -> list[tuple[str, int]]:
    runs: list[tuple[str, int]] = []
    for word in words:
        if runs and runs[-1][0] == word:
            runs[-1] = (word, runs[-1][1] + 1)
        else:
            runs.append((word, 1))
    return runs


def _number(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else f"{value:.4g}"
