from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.vitals.heartbeat import StepHeartbeat


class Run:
    """A heartbeat of 10 s (100 s while compiling), looked at every second."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.beat = StepHeartbeat(10.0, 100.0, 1.0, self.now)

    def wait(self, seconds: int, *, pending: bool = True, compiling: bool = False) -> bool:
        for _ in range(seconds):
            self.now += 1.0
            self.beat.tick(self.now, pending=pending, compilers=lambda: compiling)
        return self.beat.stalled


def test_work_without_a_step_is_a_stall_and_a_step_ends_it() -> None:
    run = Run()
    assert not run.wait(9)
    assert run.wait(2)
    run.beat.stepped(run.now)
    assert not run.beat.stalled
    assert not run.wait(9)


def test_no_work_is_no_stall() -> None:
    assert not Run().wait(1000, pending=False)


def test_one_long_step_is_busy() -> None:
    run = Run()
    for _ in range(50):
        assert not run.wait(9)
        run.beat.stepped(run.now)


def test_compilers_at_work_are_given_their_own_limit() -> None:
    run = Run()
    assert not run.wait(60, compiling=True)
    assert run.beat.compiling
    assert run.wait(1, compiling=False), "they have ended, and no step came"
    again = Run()
    assert not again.wait(99, compiling=True)
    assert again.wait(2, compiling=True), "nothing compiles for ever"


def test_clients_that_give_up_are_no_recovery() -> None:
    run = Run()
    assert not run.wait(6)
    assert not run.wait(30, pending=False)
    assert run.wait(5), "the silence before counts: no step has ended it"
    assert run.wait(30, pending=False)


def test_a_pause_of_this_process_is_not_the_engines() -> None:
    run = Run()
    run.now += 3600.0
    assert not run.beat.tick(run.now, pending=True, compilers=lambda: False)
    assert run.beat.silence == 2.0


@given(st.lists(st.tuples(st.floats(0.01, 30.0), st.booleans()), max_size=60))
def test_an_engine_that_steps_within_the_limit_is_never_stalled(ticks: list[tuple[float, bool]]) -> None:
    run = Run()
    since = 0.0
    for passed, pending in ticks:
        if since + passed >= 10.0:
            run.beat.stepped(run.now)
            since = 0.0
        run.now += min(passed, 9.0)
        since += min(passed, 9.0)
        assert not run.beat.tick(run.now, pending=pending, compilers=lambda: False)
