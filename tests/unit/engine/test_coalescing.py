"""How many steps a frame carries, and who is let go when: with a clock and a loop's timers turned by hand."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import server.engine.coalescing
from server.engine.coalescing import Coalescer

BEHIND = 0.6


class Loop:
    """The part of an event loop that a coalescer uses, and its clock. Time is seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._soon: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._later: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()

    def clock(self) -> float:
        return self.now

    def call_soon(self, call: Callable[..., None], *arguments: Any) -> None:
        self._soon.append((call, arguments))

    def call_later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> object:
        heapq.heappush(self._later, (self.now + seconds, next(self._order), call, arguments))
        return object()

    def turn(self) -> None:
        """Runs what is in the queue."""
        soon, self._soon = self._soon, []
        for call, arguments in soon:
            call(*arguments)

    def run(self, seconds: float) -> None:
        """So much time passes, with every timer that is due in it."""
        end = self.now + seconds
        while self._later and self._later[0][0] <= end:
            due, _, call, arguments = heapq.heappop(self._later)
            self.now = max(self.now, due)
            call(*arguments)
        self.now = end

    @property
    def timers(self) -> int:
        return len(self._later)


class Stream:
    def __init__(self, loop: Loop, released: list[tuple[Stream, float]]) -> None:
        self._loop = loop
        self._released = released
        self.deltas = 0

    def release(self) -> None:
        self._released.append((self, self._loop.now))


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    made = Loop()
    monkeypatch.setattr(server.engine.coalescing, "asyncio", SimpleNamespace(get_running_loop=lambda: made))
    return made


def taught(
    step: float, cost: float, *, hold: float, behind: float = BEHIND, steps: int = 400, before: Coalescer | None = None
) -> Coalescer:
    """A coalescer that saw steps of so many seconds, whose tokens cost `cost` seconds as frames of one step each."""
    coalescer = before or Coalescer(hold, behind)
    began = coalescer._last_began + step if before else 1000.0
    for _ in range(steps):
        coalescer.learn(began, cost / coalescer.steps)
        began += step
    return coalescer


@pytest.mark.parametrize("part", [0.0, 0.1, 0.59])
def test_a_loop_that_is_not_behind_serves_each_step(part: float) -> None:
    assert taught(0.02, part * 0.02, hold=1.0).steps == 1


def test_a_loop_that_is_behind_serves_several_steps_at_once() -> None:
    assert taught(0.02, 0.61 * 0.02, hold=1.0).steps == 2
    assert taught(0.02, 1.81 * 0.02, hold=1.0).steps == 4
    # What is allowed: the step that is served and those that fit into the time that a token may be held.
    assert taught(0.02, 100 * 0.02, hold=0.05).steps == 3


@given(step=st.floats(0.001, 0.9), part=st.floats(0.0, 20.0), hold=st.floats(0.0, 1.0), behind=st.floats(0.1, 1.0))
def test_steps_follow_what_the_tokens_cost_within_what_is_allowed(
    step: float, part: float, hold: float, behind: float
) -> None:
    # Not on a border, where rounding decides.
    assume(all(abs(each - round(each)) > 1e-6 for each in (part / behind, hold / step)))
    expected = max(1, min(math.ceil(part / behind), 1 + math.floor(hold / step)))
    assert taught(step, part * step, hold=hold, behind=behind).steps == expected


def test_it_falls_back_when_the_load_falls() -> None:
    coalescer = taught(0.02, 2.9 * 0.02, hold=1.0)
    assert coalescer.steps == 5
    # In about as many steps as the averages reach back, and not at the first.
    assert taught(0.02, 0.2 * 0.02, hold=1.0, steps=1, before=coalescer).steps > 1
    assert taught(0.02, 0.2 * 0.02, hold=1.0, steps=40, before=coalescer).steps == 1


def test_an_idle_pause_teaches_nothing() -> None:
    coalescer = taught(0.02, 1.5 * 0.02, hold=1.0)
    assert coalescer.steps == 3
    coalescer.learn(coalescer._last_began + 1.01, 50.0)
    assert coalescer.steps == 3
    # Nor is the pause a part of the next step.
    assert taught(0.02, 1.5 * 0.02, hold=1.0, steps=1, before=coalescer).steps == 3
    # What is shorter than a second is a slow step, which lets the loop catch up.
    coalescer.learn(coalescer._last_began + 0.99, 0.0)
    assert coalescer.steps == 1


def test_nothing_is_held_when_nothing_may_be(loop: Loop) -> None:
    coalescer = taught(0.02, 100 * 0.02, hold=0.0)
    assert coalescer.steps == 1
    assert not coalescer.holds(Stream(loop, []), 1)
    assert loop.timers == 0


def test_serving_is_timed_from_the_first_token_of_a_step_to_what_was_woken_by_its_last(loop: Loop) -> None:
    learnt: list[tuple[float, float]] = []

    class Told(Coalescer):
        def learn(self, began: float, serving: float) -> None:
            learnt.append((began, serving))

    coalescer, stream = Told(0.1, BEHIND, clock=loop.clock), Stream(loop, [])
    for _ in range(2):
        began = loop.now
        coalescer.holds(stream, 1)
        loop.run(0.002)
        coalescer.holds(stream, 1)
        loop.run(0.003)
        coalescer.step_ended()
        loop.run(0.004)  # those that were woken
        loop.turn()
        assert learnt.pop() == (began, pytest.approx(0.009))
        loop.run(0.011)
    coalescer.step_ended()  # of a step without tokens
    loop.turn()
    assert learnt == []


def test_a_held_stream_is_released_in_time_though_no_step_comes(loop: Loop) -> None:
    released: list[tuple[Stream, float]] = []
    coalescer = Coalescer(0.1, BEHIND, clock=loop.clock)
    coalescer.steps = 9
    first, second, third = (Stream(loop, released) for _ in range(3))
    began = loop.now
    for stream in (first, second, third):
        assert coalescer.holds(stream, 1)
        coalescer.step_ended()
        loop.run(0.03)
    # Its time runs from the first delta that it holds.
    assert coalescer.holds(first, 2)
    loop.run(0.0099)
    assert released == []
    loop.run(10.0)
    assert [stream for stream, _ in released] == [first, second, third]
    assert [at - began for _, at in released] == pytest.approx([0.1, 0.13, 0.16])
    assert loop.timers == 0
    # Holding begins anew after that.
    assert coalescer.holds(first, 1)
    coalescer.step_ended()
    loop.run(0.2)
    assert [stream for stream, _ in released] == [first, second, third, first]


def test_who_was_served_is_not_released(loop: Loop) -> None:
    released: list[tuple[Stream, float]] = []
    coalescer = Coalescer(0.1, BEHIND, clock=loop.clock)
    coalescer.steps = 2
    full, forgotten, stays = (Stream(loop, released) for _ in range(3))
    for stream in (full, forgotten, stays):
        assert coalescer.holds(stream, 1)
    coalescer.step_ended()
    loop.run(0.02)
    assert not coalescer.holds(full, 2)
    coalescer.forget(forgotten)
    coalescer.forget(forgotten)  # it may be gone already
    coalescer.step_ended()
    loop.run(0.02)
    # Held again: from now on, behind who was held meanwhile.
    again = loop.now
    assert coalescer.holds(forgotten, 1)
    coalescer.step_ended()
    loop.run(1.0)
    assert [stream for stream, _ in released] == [stays, forgotten]
    assert released[1][1] - again == pytest.approx(0.1)


def test_many_streams_under_a_load_that_rises_and_falls(loop: Loop) -> None:
    step, streams = 0.02, [Stream(loop, []) for _ in range(60)]
    coalescer = Coalescer(0.2, BEHIND, clock=loop.clock)

    def serve(frame: float, steps: int) -> tuple[float, float]:
        """Part of the time that serving took, and frames a stream and step, when a frame takes `frame` seconds."""
        took, frames = 0.0, 0
        for _ in range(steps):
            began = loop.now
            served = 0
            for stream in streams:
                stream.deltas += 1
                if not coalescer.holds(stream, stream.deltas):
                    stream.deltas = 0
                    served += 1
            coalescer.step_ended()
            loop.run(served * frame)
            loop.turn()
            took += served * frame
            frames += served
            loop.run(max(0.0, step - (loop.now - began)))
        return took / (steps * step), frames / (steps * len(streams))

    light, heavy = 0.1 * step / len(streams), 1.5 * step / len(streams)
    assert serve(light, 100) == (pytest.approx(0.1), 1.0)
    serve(heavy, 100)
    busy, per_step = serve(heavy, 300)
    assert busy < 1.0
    assert per_step < 0.6
    serve(light, 100)
    assert serve(light, 100) == (pytest.approx(0.1), 1.0)
