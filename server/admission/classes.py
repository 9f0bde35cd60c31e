"""The priority classes that requests come in."""

from __future__ import annotations

from enum import StrEnum


class PriorityClass(StrEnum):
    """How soon an answer is wanted: someone waits for it, something does, or nobody does.

    They are listed in the order they are served in, and compare by urgency: `batch < standard < interactive`.
    """

    INTERACTIVE = "interactive"
    STANDARD = "standard"
    BATCH = "batch"

    @property
    def rank(self) -> int:
        """0 for the class that is served first."""
        return _RANKS[self]

    def __lt__(self, other: str) -> bool:
        return self.rank > PriorityClass(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank >= PriorityClass(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank < PriorityClass(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank <= PriorityClass(other).rank


_RANKS = {each: rank for rank, each in enumerate(PriorityClass)}
