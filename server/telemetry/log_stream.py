"""Where log lines are written. What cannot be written is lost: a full disk must not fail a request that logs."""

from __future__ import annotations

import contextlib
from typing import TextIO


class LogStream:
    """A text stream that never raises for what lies behind it: a full disk, a pipe that nobody reads any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes the text, or as much of it as can be."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hands over what was written."""
        with contextlib.suppress(OSError):
            self._stream.flush()
