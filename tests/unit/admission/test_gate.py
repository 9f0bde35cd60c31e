from __future__ import annotations

import pytest

from server.admission.gate import Gate, State
from server.generation.errors import Interrupted, Unavailable


class Recorder:
    def __init__(self) -> None:
        self.inside: list[int] = []
        self.outcomes: list[str] = []
        self.gate = Gate(self.inside.append, self.outcomes.append)


@pytest.fixture
def recorder() -> Recorder:
    recorder = Recorder()
    recorder.gate.open()
    return recorder


def test_nobody_gets_in_before_the_engine_is_there() -> None:
    recorder = Recorder()
    with pytest.raises(Unavailable) as refused:
        recorder.gate.enter()
    assert (refused.value.status, refused.value.code, refused.value.retry_after) == (503, "starting", 10)
    assert recorder.outcomes == ["refused_starting"]


def test_a_permit_ends_exactly_once(recorder: Recorder) -> None:
    permit = recorder.gate.enter()
    permit.end("stop")
    permit.end("client_gone")
    assert recorder.outcomes == ["stop"]
    assert recorder.inside == [1, 0]


def test_drain_refuses_newcomers_and_waits_for_the_last(recorder: Recorder) -> None:
    first, second = recorder.gate.enter(), recorder.gate.enter()
    empty: list[bool] = []
    recorder.gate.drain(lambda: empty.append(True))
    with pytest.raises(Unavailable) as refused:
        recorder.gate.enter()
    assert refused.value.code == "shutting_down"
    first.end("stop")
    assert empty == []
    second.end("length")
    assert empty == [True]


def test_draining_an_empty_house_is_over_at_once(recorder: Recorder) -> None:
    empty: list[bool] = []
    recorder.gate.drain(lambda: empty.append(True))
    assert empty == [True]


def test_interrupt_reaches_who_is_running_and_who_is_still_being_prepared(recorder: Recorder) -> None:
    running, preparing = recorder.gate.enter(), recorder.gate.enter()
    told: list[str] = []
    running.on_interrupt(lambda error: told.append(f"running: {error}"))
    assert recorder.gate.interrupt_all(Interrupted("time is up")) == 2
    preparing.on_interrupt(lambda error: told.append(f"preparing: {error}"))
    assert told == ["running: time is up", "preparing: time is up"]


def test_a_dead_engine_stays_dead(recorder: Recorder) -> None:
    recorder.gate.close()
    recorder.gate.drain(lambda: None)
    recorder.gate.open()
    assert recorder.gate.state is State.DEAD
    with pytest.raises(Unavailable) as refused:
        recorder.gate.enter()
    assert refused.value.code == "engine_dead"
