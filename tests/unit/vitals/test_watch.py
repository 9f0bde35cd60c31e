from __future__ import annotations

import asyncio
from collections.abc import Callable

from server.admission.gate import Gate, State
from server.generation.engine_state import EngineReport
from server.vitals.vitals import Vitals
from server.vitals.watch import Watch

STEP = EngineReport(0.1, 0, 1, 1, 0, 0.1)


class Engine:
    """Sings only when it is let; `work` is what its clients have given it."""

    def __init__(self) -> None:
        self.work = 0
        self.sung = 0
        self.hangs = False
        self.broken = False
        self.lost_workers = ""
        self.step: Callable[[EngineReport], None] = lambda report: None

    @property
    def unfinished(self) -> int:
        return self.work

    def compilers_at_work(self) -> bool:
        return False

    def on_step(self, listener: Callable[[EngineReport], None]) -> None:
        self.step = listener

    async def canary(self) -> None:
        if self.broken:
            raise RuntimeError("no")
        self.sung += 1
        self.work += 1
        while self.hangs:
            await asyncio.sleep(0)
        self.work -= 1
        self.step(STEP)


class Watched:
    def __init__(self, **settings: float) -> None:
        self.now = 0.0
        self.lost: list[str] = []
        self.engine = Engine()
        self.gate = Gate(lambda inside: None, lambda outcome: None)
        self.gate.open()
        self.vitals = Vitals(self.gate, phase=str, waiting=int)
        wanted = {
            "step_seconds": 10.0,
            "compile_seconds": 20.0,
            "canary_seconds": 30.0,
            "end_seconds": 15.0,
            **settings,
        }
        self.watch = Watch(self.engine, self.gate, self.vitals, lost=self.lost.append, clock=lambda: self.now, **wanted)

    async def pass_seconds(self, seconds: float) -> bool:
        for _ in range(int(seconds * 2)):
            self.now += 0.5
            if await self.watch.look():
                return True
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return False


async def test_an_idle_engine_is_asked_for_a_token_and_a_busy_one_is_not() -> None:
    at = Watched()
    await at.pass_seconds(29)
    assert at.engine.sung == 0
    await at.pass_seconds(20)
    assert at.engine.sung == 1
    at.engine.work = 1
    for _ in range(100):
        at.engine.step(STEP)
        await at.pass_seconds(1)
    assert at.engine.sung == 1


async def test_no_canary_where_none_is_wanted() -> None:
    at = Watched(canary_seconds=0.0)
    await at.pass_seconds(500)
    assert at.engine.sung == 0


async def test_a_hung_idle_engine_is_found_shut_and_given_up() -> None:
    at = Watched()
    at.engine.hangs = True
    await at.pass_seconds(42)
    assert at.gate.state is State.STALLED
    assert await at.pass_seconds(16)
    assert len(at.lost) == 1
    assert "made no step for" in at.lost[0]


async def test_it_recovers_by_the_canary_that_waits() -> None:
    at = Watched(end_seconds=0.0)
    at.engine.hangs = True
    await at.pass_seconds(200)
    assert at.gate.state is State.STALLED
    assert at.lost == [], "0 is for ever"
    at.engine.hangs = False
    await at.pass_seconds(2)
    assert at.gate.state is State.SERVING


async def test_where_clients_gave_up_the_canary_comes_at_once() -> None:
    at = Watched()
    at.engine.work = 1
    await at.pass_seconds(5)
    at.engine.work = 0
    await at.pass_seconds(1)
    assert at.engine.sung == 1


async def test_an_internal_request_that_fails_is_told_and_tried_again_later() -> None:
    at = Watched()
    at.engine.broken = True
    assert not await at.pass_seconds(100)
    assert at.gate.state is State.SERVING


async def test_an_engine_without_one_of_its_workers_is_given_up_whether_it_has_work_or_not() -> None:
    at = Watched()
    assert not await at.pass_seconds(5)
    at.engine.lost_workers = "worker 7 has ended"
    assert not await at.pass_seconds(1.5), "it may end by itself and say more"
    assert await at.pass_seconds(2)
    assert at.lost == ["the engine has lost a part of itself: worker 7 has ended"]
