"""Telling an engine that hangs from one that is busy, by its steps: pure policy over a clock."""

from __future__ import annotations

from collections.abc import Callable


class StepHeartbeat:
    """Stalled is an engine that has had work for `step_seconds` and has made no step in that time.

    A step of any length up to the limit is being busy. Where compilers run for the engine the limit is
    `compile_seconds`. Only time in which work was there counts, and of the time between two ticks no more than twice
    `tick_seconds`: where this process itself was held up (a machine that sleeps, a stopped container), reports of steps
    may lie unread, and the engine is not to blame. A clock that is set has no effect, for `now` is monotonic.
    """

    def __init__(self, step_seconds: float, compile_seconds: float, tick_seconds: float, now: float) -> None:
        self.step_seconds = step_seconds
        self.compile_seconds = max(step_seconds, compile_seconds)
        self._tick_seconds = tick_seconds
        self._ticked = now
        self.stepped_at = now
        self.silence = 0.0
        self.stalled = False
        self.compiling = False

    def stepped(self, now: float) -> None:
        """The engine has made a step."""
        self.stepped_at = now
        self.silence = 0.0
        self.stalled = self.compiling = False

    def idle(self, now: float) -> float:
        """Seconds since the last step."""
        return now - self.stepped_at

    def tick(self, now: float, *, pending: bool, compilers: Callable[[], bool]) -> bool:
        """Whether the engine is stalled. `pending` says whether it has work, `compilers`, asked only in doubt, whether
        compilers are at work for it.

        An engine that has stalled stays so until it makes a step: that its clients have given up is no recovery.
        """
        passed, self._ticked = now - self._ticked, now
        if pending:
            self.silence += min(passed, 2 * self._tick_seconds)
        if not self.stalled and self.silence >= self.step_seconds:
            self.compiling = self.silence < self.compile_seconds and compilers()
            self.stalled = not self.compiling
        return self.stalled
