"""Why the engine's processes ended: the errors that they logged, and how the system says that they ended."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

_KEPT = 32
# An error is followed by those of the processes that it takes along; the first of such a row is the cause.
_TOGETHER_SECONDS = 15.0
_LONGEST = 500


class LastWords:
    """The latest errors. They are heard in a thread and asked for on the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._heard: deque[tuple[float, str]] = deque(maxlen=_KEPT)

    def hear(self, text: str) -> None:
        """One error, as `said` tells it."""
        with self._lock:
            self._heard.append((self._clock(), text))

    @property
    def first(self) -> str:
        """The first error of the last seconds, empty where there was none."""
        since = self._clock() - _TOGETHER_SECONDS
        with self._lock:
            return next((text for moment, text in self._heard if moment >= since), "")


def said(record: logging.LogRecord) -> str:
    """One line for an error's log record: the exception at its root where it has one, else its text."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return _one_line(record.getMessage())
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {_one_line(str(error))}" if str(error).strip() else type(error).__name__


def how_ended(exit_codes: Mapping[int, int | None]) -> str:
    """How processes ended, in words, by their exit codes; those that run are left out."""
    return ", ".join(
        f"engine core {process} {_ended(code)}" for process, code in exit_codes.items() if code is not None
    )


def _ended(code: int) -> str:
    if code >= 0:
        return f"exited with {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was ended by {name}" + (" (the kernel does so when memory runs out)" if name == "SIGKILL" else "")


def _one_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    # A message of one exception that quotes another's traceback has what matters in its last line.
    line = lines[-1] if len(lines) > 3 else lines[0] if lines else ""
    return line.strip()[:_LONGEST]
