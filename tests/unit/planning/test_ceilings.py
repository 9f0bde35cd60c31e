"""Ceilings of speed: their formulas, and that nothing measured passes them."""

from __future__ import annotations

import pytest

from server.planning.ceilings import Roofline
from server.planning.measurements import MEASUREMENTS, Measurement, ceiling
from server.planning.model_shapes import model_shapes
from server.planning.weights import weight_bytes
from tests.unit.planning.models import CONFIG, deployment

SHAPES = model_shapes(CONFIG)


def roofline(**how: object) -> Roofline:
    one = deployment(**how)  # type: ignore[arg-type]
    return Roofline(one, SHAPES, weight_bytes(one, SHAPES))


def test_a_token_is_2_kv_heads_in_15_layers() -> None:
    whole = roofline(on="1xH200", tensor_parallel=1)
    assert whole.kv_bytes_per_token() == 15 * 2 * 2 * 256 * 2 == 30_720
    assert whole.kv_bytes_per_token() * 262_144 / 1e9 == pytest.approx(8.05, abs=0.005)
    assert roofline(kv_dtype="fp8", on="1xH200", tensor_parallel=1).kv_bytes_per_token() == 15_360
    assert roofline().kv_bytes_per_token() == 15_360, "two heads on eight GPUs: one each"


def test_a_state_is_180_mib_and_a_window() -> None:
    whole = roofline(on="1xH200", tensor_parallel=1)
    assert whole.state_bytes() == 45 * (64 * 128 * 128 * 4 + (2 * 16 * 128 + 64 * 128) * 3 * 2)
    assert whole.state_bytes() / 2**20 == pytest.approx(183.2, abs=0.05)


def test_one_token_reads_ten_experts_and_many_read_all() -> None:
    one = roofline()
    assert one.distinct_experts(1) == pytest.approx(10 / 512)
    assert one.distinct_experts(64) == pytest.approx(1 - (1 - 10 / 512) ** 64)
    assert one.distinct_experts(1000) > 0.999


def test_a_lone_sequence_reads_its_weights_its_cache_and_its_state() -> None:
    one = roofline()
    weights = weight_bytes(one.deployment, SHAPES)
    read = weights.read_always + weights.read_experts * 10 / 512 + 8192 * 15_360 + 2 * one.state_bytes()
    ceiling_ = one.decode(1, 8192)
    assert ceiling_.step.memory == pytest.approx(read / 4.8e12)
    assert ceiling_.step.bound == "memory"
    assert ceiling_.tokens_per_second_per_gpu * 8 == pytest.approx(1 / ceiling_.step.seconds)


def test_drafts_make_a_lone_sequence_faster_if_they_are_right() -> None:
    plain, drafting = roofline(), roofline(mtp_tokens=2)
    assert (
        drafting.decode(1, 8192).tokens_per_second_per_sequence > plain.decode(1, 8192).tokens_per_second_per_sequence
    )
    right, wrong = drafting.decode(1, 8192), drafting.decode(1, 8192, acceptance=0.0)
    assert right.tokens_per_second_per_sequence == pytest.approx(3 * wrong.tokens_per_second_per_sequence)


def test_prefill_is_bound_by_arithmetic_on_one_gpu() -> None:
    alone = roofline(on="1xH200", tensor_parallel=1, weights="bf16")
    rate, step = alone.prefill(1, 16_384)
    assert step.bound == "compute"
    # Two operations a parameter, and Gated DeltaNet's own.
    assert rate == pytest.approx(989e12 / (2 * SHAPES.active_parameters), rel=0.02)


def test_long_prompts_cost_more_by_attention() -> None:
    alone = roofline(on="1xH200", tensor_parallel=1)
    assert alone.prefill(262_144, 16_384)[0] < 0.7 * alone.prefill(1024, 16_384)[0]


def test_two_nodes_are_bound_by_what_is_between_them() -> None:
    inside = roofline(tensor_parallel=1, data_parallel=8, expert_parallel=True)
    across = roofline(on="2x8xH200", tensor_parallel=1, data_parallel=16, expert_parallel=True)
    assert across.network_seconds() > 3 * inside.network_seconds()


def test_two_stages_divide_the_step_and_the_sequences() -> None:
    both = roofline(on="2x8xH100", weights="bf16", pipeline_parallel=2)
    one = both.decode(64, 8192)
    assert one.tokens_per_second_per_sequence == pytest.approx(1 / (2 * one.step.seconds))
    assert one.tokens_per_second_per_gpu == pytest.approx(64 / (2 * one.step.seconds) / 16)


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda one: f"{one.hardware}-{one.weights}-{one.sequences}")
def test_nothing_measured_passes_its_ceiling(measurement: Measurement) -> None:
    assert 0 < measurement.tokens_per_second < ceiling(measurement, CONFIG)
