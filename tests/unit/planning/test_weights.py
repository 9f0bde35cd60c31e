"""Bytes of weights from the model's shapes."""

from __future__ import annotations

import pytest

from server.planning.deployment import BadDeployment
from server.planning.model_shapes import NotQwen35, model_shapes
from server.planning.weights import weight_bytes
from tests.unit.planning.models import CONFIG, deployment

SHAPES = model_shapes(CONFIG)


def total(**how: object) -> int:
    one = deployment(**{"on": "1xH200", "tensor_parallel": 1, **how})  # type: ignore[arg-type]
    return weight_bytes(one, SHAPES).total


def test_the_parameters_add_up_to_what_the_hub_counts() -> None:
    assert SHAPES.parameters == 403_397_928_944


def test_seventeen_billion_are_active() -> None:
    assert 16e9 < SHAPES.active_parameters < 18e9


@pytest.mark.parametrize(
    ("weights", "drafts", "gigabytes", "tolerance"),
    [("bf16", 1, 807, 0.001), ("fp8", 1, 406, 0.001), ("nvfp4", 0, 238, 0.002), ("int4", 1, 239, 0.025)],
)
def test_whole_checkpoints_weigh_what_is_published(
    weights: str, drafts: int, gigabytes: float, tolerance: float
) -> None:
    assert total(weights=weights, mtp_tokens=drafts) / 1e9 == pytest.approx(gigabytes, rel=tolerance)


def test_tensor_parallelism_divides_all_but_replicas() -> None:
    whole, eighth = deployment("1xH200", tensor_parallel=1), deployment()
    one, eight = weight_bytes(whole, SHAPES).by_component, weight_bytes(eighth, SHAPES).by_component
    assert eight["routed experts"] == pytest.approx(one["routed experts"] / 8)
    assert eight["lm_head"] * 8 == one["lm_head"]
    kv = 15 * 2 * 4096 * 512
    # Two KV heads on eight GPUs: each is held four times.
    assert eight["attention"] > one["attention"] / 8 + kv * 0.9 * (1 / 2 - 1 / 8)
    assert "mtp" not in eight


def test_expert_parallelism_over_replicas_divides_experts_alone() -> None:
    spread = deployment(tensor_parallel=1, data_parallel=8, expert_parallel=True)
    alone = deployment("1xH200", tensor_parallel=1)
    parts, whole = weight_bytes(spread, SHAPES).by_component, weight_bytes(alone, SHAPES).by_component
    assert parts["routed experts"] == pytest.approx(whole["routed experts"] / 8)
    assert parts["gdn"] == whole["gdn"]


def test_two_stages_hold_half_the_layers_and_one_end_each() -> None:
    both = deployment("2x8xH100", "bf16", pipeline_parallel=2)
    one = weight_bytes(deployment(weights="bf16"), SHAPES).by_component
    stage = weight_bytes(both, SHAPES).by_component
    assert stage["routed experts"] == one["routed experts"] // 2
    assert ("lm_head" in stage) != ("embeddings" in stage)


def test_text_only_leaves_the_vision_tower_out() -> None:
    assert total(weights="bf16") - total(weights="bf16", text_only=True) == 2 * 456_010_480


@pytest.mark.parametrize(
    "how",
    [
        {"tensor_parallel": 3},
        {"on": "4x8xH200", "tensor_parallel": 32},
        {"on": "8xH200", "tensor_parallel": 7, "expert_parallel": True},
    ],
)
def test_sizes_that_do_not_divide_the_model_are_refused(how: dict[str, object]) -> None:
    with pytest.raises(BadDeployment, match="divide"):
        weight_bytes(deployment(**how), SHAPES)  # type: ignore[arg-type]


def test_more_gpus_than_there_are_is_refused() -> None:
    with pytest.raises(BadDeployment, match="needs 16 GPUs"):
        deployment("8xH200", tensor_parallel=8, data_parallel=2)


def test_another_model_is_refused() -> None:
    with pytest.raises(NotQwen35):
        model_shapes({"hidden_size": 4096, "num_hidden_layers": 32})
