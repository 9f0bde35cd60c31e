"""Costs: all money of an hour is charged to its tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.planning.ceilings import Roofline
from server.planning.costs import MILLION, CostModel, Load
from server.planning.model_shapes import model_shapes
from server.planning.weights import weight_bytes
from tests.unit.planning.models import CONFIG, deployment

SHAPES = model_shapes(CONFIG)


def model(**how: object) -> CostModel:
    given = {"tensor_parallel": 1, "data_parallel": 8, "expert_parallel": True, "kv_dtype": "fp8", **how}
    one = deployment(**given)  # type: ignore[arg-type]
    return CostModel(Roofline(one, SHAPES, weight_bytes(one, SHAPES)), 3.0, 62 * 2**30, 128, 16_384)


LOAD = Load(4.0, 4096, 0.5, 1024)


@pytest.mark.parametrize("rate", [0.05, 1.0, 4.0])
@pytest.mark.parametrize("cached", [0.0, 0.5])
def test_the_tokens_pay_for_the_hour(rate: float, cached: float) -> None:
    load = replace(LOAD, requests_per_second=rate, cached_share=cached)
    cost = model().cost(load)
    assert cost is not None
    paid = rate * (
        load.input_tokens * (1 - cached) * cost.input
        + load.input_tokens * cached * cost.cached
        + load.output_tokens * cost.output
    )
    assert paid / MILLION * 3600 == pytest.approx(8 * 3.0)


def test_more_load_makes_tokens_cheaper_and_answers_slower() -> None:
    light, heavy = model().cost(replace(LOAD, requests_per_second=0.5)), model().cost(LOAD)
    assert light is not None
    assert heavy is not None
    assert heavy.output < light.output / 2
    assert heavy.output_tokens_per_second_per_sequence < light.output_tokens_per_second_per_sequence
    assert heavy.sequences > light.sequences


def test_too_much_is_refused_and_the_most_is_not() -> None:
    most = model().most_requests_per_second(LOAD)
    assert model().cost(replace(LOAD, requests_per_second=most * 1.01)) is None
    full = model().cost(replace(LOAD, requests_per_second=most * 0.999))
    assert full is not None
    assert full.sequences == pytest.approx(128, rel=0.02)


def test_a_cached_token_pays_for_its_room_while_it_waits() -> None:
    once, twice = model().cost(LOAD), model().cost(replace(LOAD, cached_seconds=600.0))
    assert once is not None
    assert twice is not None
    assert once.cached * 2 == pytest.approx(twice.cached)
    # 15,360 bytes of eight times 62 GiB, for 300 s of $24 an hour.
    assert once.cached == pytest.approx(15_360 / (8 * 62 * 2**30) * 300 * 24 / 3600 * MILLION)


def test_a_step_is_no_shorter_than_its_layers() -> None:
    assert model().step_seconds(1, 1024) >= 60 * 90e-6


def test_idle_gpus_are_paid_for() -> None:
    half = model(data_parallel=4)
    cost = half.cost(replace(LOAD, requests_per_second=1.0))
    assert cost is not None
    assert cost.dollars_per_hour == pytest.approx(24.0)
