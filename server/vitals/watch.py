"""Watches the engine's heartbeat on the event loop, and gives it a beat to make when nobody else does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from server.admission.gate import Gate, State
from server.generation.engine_state import EngineReport
from server.telemetry.logs import get_logger
from server.vitals.heartbeat import StepHeartbeat
from server.vitals.vitals import Vitals

_log = get_logger("vitals")

TICK_SECONDS = 0.5
# vLLM's own answer to a worker's death takes under a second where it comes.
_WORKER_SECONDS = 2.0


class Beating(Protocol):
    """What is watched of an engine."""

    @property
    def unfinished(self) -> int:
        """Sequences that the engine has to work on."""

    @property
    def lost_workers(self) -> str:
        """Which of its worker processes have ended, in words; empty while none has."""

    def compilers_at_work(self) -> bool:
        """Whether compilers run for it. Called in a thread."""

    async def canary(self) -> None:
        """Has it make one token. Raises what `submit` raises."""

    def on_step(self, listener: Callable[[EngineReport], None]) -> None:
        """See `server.generation.ports.Engine`."""


class Watch:
    """`lost` is told, once, why an engine is given up: it has stalled for `end_seconds` (0: for ever), or has lost a
    worker and does not end by itself.
    """

    def __init__(
        self,
        engine: Beating,
        gate: Gate,
        vitals: Vitals,
        *,
        step_seconds: float,
        compile_seconds: float,
        canary_seconds: float,
        end_seconds: float,
        lost: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._gate, self._vitals = engine, gate, vitals
        self._canary_seconds, self._end_seconds, self._lost = canary_seconds, end_seconds, lost
        self._clock = clock
        self._beat = vitals.heartbeat = StepHeartbeat(step_seconds, compile_seconds, TICK_SECONDS, clock())
        self._stalled_since: float | None = None
        self._worker_lost_at: float | None = None
        self._canary: asyncio.Task[None] | None = None
        engine.on_step(self._stepped)

    async def run(self) -> None:
        """Runs until it is cancelled or the engine is given up."""
        try:
            while not await self.look():
                await asyncio.sleep(TICK_SECONDS)
        finally:
            if self._canary is not None:
                self._canary.cancel()

    async def look(self) -> bool:
        """One tick; whether the engine is given up."""
        beat, engine = self._beat, self._engine
        if self._has_lost_workers():
            return True
        pending = engine.unfinished > 0
        doubtful = pending and beat.silence + 2 * TICK_SECONDS >= beat.step_seconds
        compiling = doubtful and await asyncio.to_thread(engine.compilers_at_work)
        stalled = beat.tick(self._clock(), pending=pending, compilers=lambda: compiling)
        if stalled and self._stalled_since is None:
            self._stalled_since = self._clock()
            _log.error("the engine is stalled", silent_seconds=round(beat.silence, 1), sequences=engine.unfinished)
            self._gate.stall(True)
        if stalled and self._end_seconds and self._clock() - (self._stalled_since or 0.0) >= self._end_seconds:
            self._lost(f"the engine has had work and made no step for {self._clock() - self._beat.stepped_at:.0f} s")
            return True
        self._sing(pending=pending)
        return False

    def _has_lost_workers(self) -> bool:
        """Whether a worker has been gone for so long that the engine's own end, which tells more, will not come."""
        if not (words := self._engine.lost_workers):
            return False
        now = self._clock()
        if self._worker_lost_at is None:
            self._worker_lost_at = now
        if now - self._worker_lost_at < _WORKER_SECONDS:
            return False
        self._lost(f"the engine has lost a part of itself: {words}")
        return True

    def _stepped(self, report: EngineReport) -> None:
        self._beat.stepped(self._clock())
        if self._stalled_since is not None:
            seconds, self._stalled_since = self._clock() - self._stalled_since, None
            _log.warning("the engine goes on", stalled_seconds=round(seconds, 1))
            self._gate.stall(False)

    def _sing(self, *, pending: bool) -> None:
        """Sends a canary to an engine that nobody asks anything, at once where there is doubt: clients that have given
        up on an engine that hangs leave it without work, and it would look well."""
        beat = self._beat
        due = self._canary_seconds and beat.idle(self._clock()) >= self._canary_seconds
        suspected = beat.silence >= beat.step_seconds / 4
        if pending or not (due or (suspected and self._canary_seconds)):
            return
        if self._gate.state in (State.SERVING, State.STALLED) and (self._canary is None or self._canary.done()):
            self._canary = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        try:
            await self._engine.canary()
        except Exception as error:  # noqa: BLE001 - whatever it was is told, and the heartbeat judges
            _log.error("the engine failed an internal request", why=f"{type(error).__name__}: {error}")
            await asyncio.sleep(self._canary_seconds)
