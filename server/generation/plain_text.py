"""The parser for answers in which nothing is markup."""

from __future__ import annotations

from server.generation.events import OutputEvent, TextDelta


class PlainText:
    """Stands in for `OutputParser` where the prompt was raw: all that comes is text, and comes at once."""

    def feed(self, delta: str) -> list[OutputEvent]:
        """The delta, as text."""
        return [TextDelta(delta)] if delta else []

    def finish(self) -> list[OutputEvent]:
        """Nothing: nothing is held back."""
        return []
