"""Counts of times in buckets that are each 1 % wide, for what comes by the million."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

# A bucket's value is its middle, so that no quantile is off by more than half of this.
_WIDTH = math.log(1.01)
_LEAST = 1e-6


class Histogram:
    """Seconds by bucket. What is shorter than a microsecond is one bucket, told as 0."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    def add(self, seconds: float) -> None:
        """One more of so many seconds."""
        place = -1 if seconds < _LEAST else int(math.log(seconds / _LEAST) / _WIDTH)
        self.counts[place] = self.counts.get(place, 0) + 1

    def merge(self, others: Iterable[Histogram]) -> Histogram:
        """This one with all of the others in it."""
        for other in others:
            for place, count in other.counts.items():
                self.counts[place] = self.counts.get(place, 0) + count
        return self

    @property
    def size(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    def quantile(self, part: float) -> float:
        """The value below which `part` lie, within half a percent; nan of none."""
        size = self.size
        if not size:
            return float("nan")
        rank, seen = min(size - 1, int(part * size)), 0
        for place in sorted(self.counts):
            seen += self.counts[place]
            if seen > rank:
                return _middle(place)
        raise AssertionError("a rank is below the size")

    def cumulative(self) -> list[tuple[float, float]]:
        """Points of the distribution: (seconds, part of all that are no longer)."""
        size, seen, found = self.size, 0, []
        for place in sorted(self.counts):
            seen += self.counts[place]
            found.append((_middle(place), seen / size))
        return found


def _middle(place: int) -> float:
    return 0.0 if place < 0 else _LEAST * math.exp((place + 0.5) * _WIDTH)
