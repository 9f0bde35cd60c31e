"""When a stream waits for more tokens before it is served: pure policy over a clock, and one timer."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from server.engine.coalescing import Coalescer


class Stream:
    def __init__(self) -> None:
        self.released = 0

    def release(self) -> None:
        self.released += 1


def steps_after(coalescer: Coalescer, step: float, serving: float, count: int = 200, start: float = 0.0) -> float:
    """Shows it `count` steps of `step` seconds, of which all streams together would take `serving`; returns when."""
    now = start
    for _ in range(count):
        now += step
        coalescer.learn(now, serving / coalescer.steps)
    return now


def test_one_step_a_frame_while_the_loop_keeps_up_and_more_when_it_does_not() -> None:
    coalescer = Coalescer(0.1, 0.8)
    now = steps_after(coalescer, 0.02, 0.01)
    assert coalescer.steps == 1
    now = steps_after(coalescer, 0.02, 0.03, start=now)
    assert coalescer.steps == 2
    now = steps_after(coalescer, 0.02, 0.05, start=now)
    assert coalescer.steps == 4
    steps_after(coalescer, 0.02, 0.01, start=now)
    assert coalescer.steps == 1, "it falls back when the load does"


@given(step=st.floats(0.001, 0.5), serving=st.floats(0.0, 2.0), hold=st.floats(0.0, 1.0))
def test_no_token_waits_for_longer_than_it_may(step: float, serving: float, hold: float) -> None:
    coalescer = Coalescer(hold, 0.5)
    steps_after(coalescer, step, serving)
    # The first token of a frame waits for the steps after its own.
    assert (coalescer.steps - 1) * step <= hold * 1.001
    assert coalescer.steps >= 1


def test_where_nothing_may_be_held_nothing_is() -> None:
    coalescer = Coalescer(0.0, 0.1)
    steps_after(coalescer, 0.01, 1.0)
    assert coalescer.steps == 1


def test_a_pause_teaches_nothing() -> None:
    coalescer = Coalescer(0.1, 0.8)
    now = steps_after(coalescer, 0.02, 0.03)
    assert coalescer.steps == 2
    for _ in range(50):
        now += 30.0
        coalescer.learn(now, 0.0)
    assert coalescer.steps == 2


async def test_a_stream_is_held_until_it_has_enough() -> None:
    coalescer, stream = Coalescer(0.1, 0.8), Stream()
    coalescer.steps = 3
    assert [coalescer.holds(stream, deltas) for deltas in (1, 2, 3)] == [True, True, False]
    await asyncio.sleep(0.15)
    assert stream.released == 0, "who was told has nothing left to be reminded of"


async def test_who_is_held_is_released_in_time_though_no_step_comes() -> None:
    coalescer, streams = Coalescer(0.05, 0.8), [Stream(), Stream(), Stream()]
    coalescer.steps = 9
    assert all(coalescer.holds(stream, 1) for stream in streams[:2])
    coalescer.step_ended()
    await asyncio.sleep(0.03)
    coalescer.steps = 9  # the step that has just ended taught it something
    assert coalescer.holds(streams[2], 1)
    coalescer.forget(streams[1])
    await asyncio.sleep(0.035)
    assert [stream.released for stream in streams] == [1, 0, 0]
    await asyncio.sleep(0.05)
    assert [stream.released for stream in streams] == [1, 0, 1]


async def test_a_step_is_timed_until_all_that_it_woke_have_been_served() -> None:
    times = iter([10.0, 10.3])
    coalescer = Coalescer(0.1, 0.8, clock=lambda: next(times))
    learned: list[tuple[float, float]] = []
    coalescer.learn = lambda began, serving: learned.append((began, serving))  # type: ignore[method-assign]
    served: list[str] = []
    assert not coalescer.holds(Stream(), 1)
    asyncio.get_running_loop().call_soon(served.append, "stream")
    coalescer.step_ended()
    await asyncio.sleep(0)
    assert served == ["stream"]
    assert learned == [(10.0, 10.3 - 10.0)]
    coalescer.step_ended()
    await asyncio.sleep(0)
    assert len(learned) == 1, "a step that brought nobody anything says nothing"
