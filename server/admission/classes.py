"""The priority classes that requests come in."""

from __future__ import annotations

from enum import StrEnum


class PriorityClass(StrEnum):
    """How soon an answer is wanted: someone waits for it, something does, or nobody does."""

    INTERACTIVE = "interactive"
    STANDARD = "standard"
    BATCH = "batch"

    @property
    def rank(self) -> int:
        """0 for the class that is served first."""
        return _RANKS[self]

    def capped(self, highest: PriorityClass) -> PriorityClass:
        """This class, or `highest` where this one is above it."""
        return self if self.rank >= highest.rank else highest


_RANKS = {each: rank for rank, each in enumerate(PriorityClass)}
