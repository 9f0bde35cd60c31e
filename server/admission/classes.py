"""The three kinds of work, by how long somebody waits for it."""

from __future__ import annotations

from enum import StrEnum


class PriorityClass(StrEnum):
    """How urgent a request is. They compare by urgency: `batch < standard < interactive`."""

    INTERACTIVE = "interactive"
    STANDARD = "standard"
    BATCH = "batch"

    @property
    def urgency(self) -> int:
        """0 for batch, 1 for standard, 2 for interactive."""
        return _URGENCY[self]

    def __lt__(self, other: str) -> bool:
        return self.urgency < PriorityClass(other).urgency

    def __le__(self, other: str) -> bool:
        return self.urgency <= PriorityClass(other).urgency

    def __gt__(self, other: str) -> bool:
        return self.urgency > PriorityClass(other).urgency

    def __ge__(self, other: str) -> bool:
        return self.urgency >= PriorityClass(other).urgency


_URGENCY = {PriorityClass.BATCH: 0, PriorityClass.STANDARD: 1, PriorityClass.INTERACTIVE: 2}
