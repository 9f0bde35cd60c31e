from __future__ import annotations

import pytest

from server.admission.gate import Gate
from server.vitals.condition import Status
from server.vitals.heartbeat import StepHeartbeat
from server.vitals.strains import Sign, Strains
from server.vitals.vitals import Vitals


class House:
    def __init__(self, saturated: int | None = None) -> None:
        self.waiting, self.now = 0, 100.0
        self.gate = Gate(lambda inside: None, lambda outcome: None)
        self.vitals = Vitals(
            self.gate,
            phase=lambda: "weights",
            waiting=lambda: self.waiting,
            saturated_waiting=saturated,
            clock=lambda: self.now,
        )

    @property
    def told(self) -> tuple[Status, bool, bool]:
        now = self.vitals.condition()
        return now.status, now.ready, now.live


def test_each_condition_has_its_probes_and_its_reason() -> None:
    house = House()
    assert house.told == (Status.STARTING, False, True)
    assert (house.vitals.condition().phase, house.vitals.condition().reason) == (
        "weights",
        "the engine is being started: weights",
    )
    house.gate.open()
    assert house.told == (Status.SERVING, True, True)
    assert house.vitals.condition().reason == ""
    beat = house.vitals.heartbeat = StepHeartbeat(10.0, 100.0, 1.0, 0.0)
    for second in range(1, 12):
        beat.tick(float(second), pending=True, compilers=lambda: False)
    assert house.told == (Status.STALLED, False, False)
    assert "no step for 11 s" in house.vitals.condition().reason
    beat.stepped(12.0)
    house.vitals.drain_ends = 160.0
    house.gate.drain(lambda: None)
    assert house.told == (Status.DRAINING, False, True)
    assert "60 s are left" in house.vitals.condition().reason
    house.gate.close()
    house.vitals.cause = "engine core 7 was ended by SIGKILL"
    assert house.told == (Status.DEAD, False, False)
    assert house.vitals.condition().reason == "engine core 7 was ended by SIGKILL"


def test_a_lame_duck_is_not_ready_while_the_gate_is_open() -> None:
    house = House()
    house.gate.open()
    assert not house.vitals.leaving
    house.vitals.leaves_at = 105.0
    assert house.told == (Status.DRAINING, False, True)
    assert house.vitals.leaving
    assert house.vitals.condition().reason == "the daemon is ending: it takes requests for 5 s more"
    house.gate.enter()  # which would raise
    house.vitals.drain_ends = 165.0
    house.gate.drain(lambda: None)
    assert "65 s are left for what runs" in house.vitals.condition().reason


def test_compiling_is_serving_with_a_reason() -> None:
    house = House()
    house.gate.open()
    beat = house.vitals.heartbeat = StepHeartbeat(10.0, 100.0, 1.0, 0.0)
    for second in range(1, 30):
        beat.tick(float(second), pending=True, compilers=lambda: True)
    assert house.told == (Status.SERVING, True, True)
    assert "compilers are at work" in house.vitals.condition().reason


def test_an_engine_that_hesitates_is_told_before_it_counts_as_stalled() -> None:
    house = House()
    house.gate.open()
    house.vitals.strains = Strains({"flood": lambda now: Sign("many are refused")})
    for second in range(10):
        house.vitals.strains.look(float(second))
    beat = house.vitals.heartbeat = StepHeartbeat(60.0, 100.0, 1.0, 0.0)
    reasons = []
    for second in range(1, 13):
        beat.tick(float(second), pending=True, compilers=lambda: False)
        reasons.append(house.vitals.condition().reason)
    assert reasons[8] == "many are refused"
    assert reasons[11] == "no step for 12 s: the engine counts as stalled after 60 s (health.step_seconds)"
    assert house.told == (Status.SERVING, True, True)


@pytest.mark.parametrize(
    ("saturated", "expected"), [(None, [True, True, True, True, True]), (8, [True, True, False, False, True])]
)
def test_saturation_turns_readiness_off_by_choice_and_not_to_and_fro(
    saturated: int | None, expected: list[bool]
) -> None:
    house = House(saturated)
    house.gate.open()
    seen = []
    for house.waiting in (0, 7, 8, 4, 3):
        seen.append(house.told[1])
        assert house.told[2], "a full house is alive"
    assert seen == expected


def test_a_stalled_engine_is_given_nothing_and_one_that_goes_on_is() -> None:
    house = House()
    house.gate.open()
    house.gate.stall(True)
    with pytest.raises(Exception, match="does not go on") as refused:
        house.gate.enter()
    assert (refused.value.code, refused.value.status) == ("engine_stalled", 503)
    house.gate.stall(False)
    house.gate.enter().end("stop")
    house.gate.close()
    house.gate.stall(False)
    with pytest.raises(Exception, match="has died"):
        house.gate.enter()
