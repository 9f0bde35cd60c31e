"""Label values that clients or files could make without end, held to a fixed number."""

from __future__ import annotations

from collections.abc import Iterable

OTHER = "other"
"""What everything beyond the bound is called."""


class BoundedLabel:
    """The first `most` different values keep their names, all later ones are `other`, until the process ends.

    Values are never forgotten: a series that was begun stays in the registry, whoever it was of.
    """

    def __init__(self, most: int, known: Iterable[str] = ()) -> None:
        self._most = most
        self._names: set[str] = set(known)

    def of(self, value: str) -> str:
        """The label for a value."""
        if value in self._names:
            return value
        if len(self._names) < self._most:
            self._names.add(value)
            return value
        return OTHER
