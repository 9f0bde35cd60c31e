"""The policy's properties over random traces; `properties` says what each of them is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadtest.simulation import report, scenarios
from loadtest.simulation.run import simulate
from tests.unit.admission import fairness, properties
from tests.unit.admission.fresh import UNCHANGED
from tests.unit.admission.traces import Trace

TRACES = st.builds(
    Trace,
    seed=st.integers(0, 2**32),
    count=st.integers(1, 90),
    tenants=st.integers(1, 6),
    seconds=st.sampled_from((0.5, 5.0, 20.0)),
    cancels=st.sampled_from((0.0, 0.3, 0.9)),
    lag=st.integers(0, 4),
    blocks=st.sampled_from((60, 120, 400)),
    come_back=st.sampled_from((0.0, 1.0)),
    ageing=st.sampled_from((0.5, 2.0)),
)
SEEDS = st.integers(0, 2**32)


def some(count: int):
    return settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", ["ends_once", "keeps_to_limits", "conserves_work", "ages"])
def test_it_holds_whatever_comes(name: str) -> None:
    some(40)(given(TRACES)(lambda trace: getattr(properties, name)(UNCHANGED, trace)))()


@some(12)
@given(SEEDS, st.sampled_from((0.0, 0.3)), st.booleans(), st.sampled_from((1.0, 0.9)))
def test_tenants_that_always_wait_are_served_alike(seed: int, cancels: float, small: bool, share: float) -> None:
    fairness.shares_fairly(UNCHANGED, seed, cancels, small, share)


@some(8)
@given(SEEDS)
def test_a_quiet_tenant_finds_room_beside_a_flood(seed: int) -> None:
    fairness.serves_a_quiet_tenant(UNCHANGED, seed)


@some(4)
@given(SEEDS)
def test_weights_hold_however_long_requests_wait(seed: int) -> None:
    fairness.shares_by_weight_however_long_they_wait(UNCHANGED, seed)


@some(6)
@given(SEEDS)
def test_a_tenant_enters_at_once_within_its_own_part_of_the_limit(seed: int) -> None:
    fairness.gives_each_its_own_part(UNCHANGED, seed)


@some(12)
@given(SEEDS)
def test_who_does_not_fit_is_passed_a_bounded_number_of_times(seed: int) -> None:
    properties.bounds_bypass(UNCHANGED, seed)


@some(4)
@given(SEEDS)
def test_more_is_refused_where_more_comes(seed: int) -> None:
    """Up to three points of a hundred, which is what the order of arrivals decides."""
    parts = [properties.refused_part(UNCHANGED, seed, load) for load in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)]
    assert parts[0] == 0
    assert parts[-1] > 0.3
    assert all(more >= less - 0.03 for less, more in itertools.pairwise(parts)), parts


@pytest.mark.parametrize("kind", ["burst", "burst on steady load", "sustained", "half"])
def test_who_comes_back_when_told_to_is_let_in(kind: str) -> None:
    """Four of five at least, in ten times overload for ten seconds, in 1.5 times for two minutes, and where only every
    other client comes back.
    """
    scenario = scenarios.come_back(kind)
    results = simulate(scenario.world, scenario.requests(5), "ours", scenario.duration, 60.0)
    back, let_in = report.kept_promises(results.attempts)
    assert back > 300
    assert let_in >= 0.8 * back
