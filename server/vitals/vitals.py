"""The daemon's condition, from the gate, the engine's heartbeat and the queue."""

from __future__ import annotations

import time
from collections.abc import Callable

from server.admission.gate import Gate, State
from server.vitals.condition import Condition, Status
from server.vitals.heartbeat import StepHeartbeat
from server.vitals.strains import Strains

_HESITATES_SECONDS = 10.0


class Vitals:
    """Answers at once: it looks at what is known and asks nobody.

    `waiting` counts requests that wait for room; from `saturated_waiting` of them on the daemon says that it wants no
    more, until fewer than half as many wait. `heartbeat` and `strains` are there once the engine is.
    """

    def __init__(
        self,
        gate: Gate,
        *,
        phase: Callable[[], str],
        waiting: Callable[[], int],
        saturated_waiting: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gate = gate
        self._phase = phase
        self._waiting = waiting
        self._saturated_waiting = saturated_waiting
        self._saturated = False
        self._clock = clock
        self.heartbeat: StepHeartbeat | None = None
        self.strains: Strains | None = None
        # Why the engine died, or why it is being started anew.
        self.cause = ""
        self.restarts = 0
        # Until when requests are still taken by a daemon that has been told to end.
        self.leaves_at: float | None = None
        self.drain_ends: float | None = None

    @property
    def silence(self) -> float:
        """Seconds that the engine has had work and made no step; 0 while there is no engine."""
        return 0.0 if self.heartbeat is None else self.heartbeat.silence

    @property
    def hesitates(self) -> bool:
        """Whether the engine makes no step for so long that all else which strains the daemon comes of it."""
        return self.silence >= _HESITATES_SECONDS

    def condition(self) -> Condition:
        """What the daemon is doing now."""
        state, beat = self._gate.state, self.heartbeat
        if state is State.STARTING:
            phase = self._phase()
            return Condition(Status.STARTING, f"the engine is being started: {phase}", phase)
        if state is State.RESTARTING:
            return Condition(Status.RESTARTING, self.cause)
        if state is State.DEAD:
            return Condition(Status.DEAD, self.cause or "the engine has died")
        if beat is not None and beat.stalled:
            return Condition(
                Status.STALLED,
                f"the engine has work and has made no step for {beat.silence:.0f} s (health.step_seconds)",
            )
        if state is State.DRAINING:
            left = max(0.0, (self.drain_ends or 0.0) - self._clock())
            return Condition(Status.DRAINING, f"the daemon is ending: {left:.0f} s are left for what runs")
        if self.leaves_at is not None:
            left = max(0.0, self.leaves_at - self._clock())
            return Condition(Status.DRAINING, f"the daemon is ending: it takes requests for {left:.0f} s more")
        if self._is_saturated():
            return Condition(
                Status.SATURATED,
                f"{self._waiting()} requests wait for room, and health.saturated_waiting is {self._saturated_waiting}",
            )
        if self.hesitates:
            return Condition(Status.SERVING, self._no_step())
        return Condition(Status.SERVING, "" if self.strains is None else self.strains.reason)

    @property
    def leaving(self) -> bool:
        """Whether the daemon has been told to end."""
        return self.leaves_at is not None

    def _no_step(self) -> str:
        beat = self.heartbeat
        assert beat is not None
        if beat.compiling:
            return f"no step for {beat.silence:.0f} s: compilers are at work for the engine"
        limit = f"{beat.step_seconds:g} s (health.step_seconds)"
        return f"no step for {beat.silence:.0f} s: the engine counts as stalled after {limit}"

    def _is_saturated(self) -> bool:
        most = self._saturated_waiting
        if most is None:
            return False
        waiting = self._waiting()
        # Two bounds, or a load balancer would be told something else at every probe.
        self._saturated = waiting >= most if not self._saturated else 2 * waiting >= most
        return self._saturated
