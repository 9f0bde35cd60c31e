"""The door: who is let in, how many are inside, and how each of them left.

Pure policy over plain calls: no HTTP, no asyncio, no engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from server.generation.errors import Interrupted, Unavailable


class State(StrEnum):
    """What the daemon is doing, as far as it decides who is let in."""

    STARTING = "starting"
    SERVING = "serving"
    STALLED = "stalled"
    DRAINING = "draining"
    DEAD = "dead"
    RESTARTING = "restarting"


# In seconds, `Retry-After`: a start takes minutes, a drain hands over to another replica, and whoever restarts a dead
# daemon needs a moment.
_REFUSALS = {
    State.STARTING: ("The model is still being loaded.", "starting", 10),
    State.STALLED: ("The engine does not go on.", "engine_stalled", 30),
    State.DRAINING: ("The server is shutting down.", "shutting_down", 5),
    State.DEAD: ("The engine has died.", "engine_dead", 30),
    State.RESTARTING: ("The engine has died and is being started anew.", "restarting", 15),
}

_FINISHED = ("stop", "length", "tool_calls")


@dataclass(slots=True)
class DrainReport:
    """What became of the requests that were inside when a drain began, and how many came too late."""

    running: int = 0
    finished: int = 0
    ended_early: int = 0
    # Their client left, or they failed.
    left: int = 0
    refused: int = 0


class GatePermit:
    """One request's right to be inside; see `server.generation.ports.Permit`."""

    __slots__ = ("_error", "_gate", "_interrupt")

    def __init__(self, gate: Gate) -> None:
        self._gate: Gate | None = gate
        self._interrupt: Callable[[Exception], None] | None = None
        self._error: Exception | None = None

    def on_interrupt(self, interrupt: Callable[[Exception], None]) -> None:
        """Registers who ends the request early; told at once if that was asked for already."""
        self._interrupt = interrupt
        if self._error is not None:
            interrupt(self._error)

    def interrupt(self, error: Exception) -> None:
        """Asks the request to end now with `error`."""
        self._error = error
        if self._interrupt is not None:
            self._interrupt(error)

    def end(self, outcome: str) -> None:
        """Leaves; a second call does nothing, so that an outcome is counted exactly once."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate._left(self, outcome)


class Gate:
    """Lets requests in while the daemon is serving. `on_change` is told how many are inside, `on_end` how each left."""

    def __init__(self, on_change: Callable[[int], None], on_end: Callable[[str], None]) -> None:
        self.state = State.STARTING
        self._inside: set[GatePermit] = set()
        self._on_change = on_change
        self._on_end = on_end
        self._when_empty: Callable[[], None] | None = None
        self.drained: DrainReport | None = None

    def __len__(self) -> int:
        return len(self._inside)

    def check(self) -> None:
        """Raises Unavailable with its reason when the daemon is not serving."""
        if self.state is not State.SERVING:
            message, code, retry_after = _REFUSALS[self.state]
            self._on_end(f"refused_{code}")
            if self.drained is not None:
                self.drained.refused += 1
            raise Unavailable(message, code=code, retry_after=retry_after)

    def enter(self) -> GatePermit:
        """A permit. Raises Unavailable as `check` does."""
        self.check()
        permit = GatePermit(self)
        self._inside.add(permit)
        self._on_change(len(self._inside))
        return permit

    def open(self) -> None:
        """The engine is ready."""
        if self.state is State.STARTING:
            self.state = State.SERVING

    def stall(self, stalled: bool) -> None:
        """Shuts while the engine does not go on, and opens again when it does."""
        if self.state in (State.SERVING, State.STALLED):
            self.state = State.STALLED if stalled else State.SERVING

    def restarting(self) -> None:
        """There is no engine until another daemon has taken over."""
        self.state = State.RESTARTING

    def drain(self, when_empty: Callable[[], None]) -> None:
        """Lets nobody in any more; `when_empty` is called once the last one inside has left, at once if none is."""
        if self.state is not State.DEAD:
            self.state = State.DRAINING
        self.drained = DrainReport(running=len(self._inside))
        self._when_empty = when_empty
        if not self._inside:
            when_empty()

    def close(self) -> None:
        """The engine is gone: lets nobody in."""
        self.state = State.DEAD

    def interrupt_all(self, error: Exception) -> int:
        """Asks everyone inside to leave now with `error`; returns how many."""
        inside = list(self._inside)
        for permit in inside:
            permit.interrupt(error)
        return len(inside)

    def _left(self, permit: GatePermit, outcome: str) -> None:
        self._inside.discard(permit)
        self._on_change(len(self._inside))
        self._on_end(outcome)
        if self.drained is not None:
            if outcome in _FINISHED:
                self.drained.finished += 1
            elif outcome == Interrupted.outcome:
                self.drained.ended_early += 1
            else:
                self.drained.left += 1
        if not self._inside and self._when_empty is not None:
            self._when_empty()
