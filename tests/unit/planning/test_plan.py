"""Plans put together from formulas; tests/unit/engine/test_kv_layout.py has vLLM itself in their place."""

from __future__ import annotations

from dataclasses import replace

from server.planning.hardware import GIB
from server.planning.nearest import nearest
from server.planning.plan import Plan, make_plan
from tests.unit.planning.formulas import formula_layout
from tests.unit.planning.models import deployment


def planned(**how: object) -> Plan:
    return make_plan(deployment(**how), formula_layout)  # type: ignore[arg-type]


def reasons(plan: Plan) -> str:
    return " ".join(problem.reason for problem in plan.problems)


def test_memory_adds_up() -> None:
    memory = planned().memory
    assert memory.weights.total + memory.reserve.total + memory.kv == memory.usable
    assert memory.usable == int(memory.total * 0.9)


def test_a_cache_of_a_given_size_is_that_and_must_fit() -> None:
    plan = planned(kv_cache_bytes=10 * GIB, gpu_memory_utilization=0.1)
    assert (plan.memory.kv, plan.problems) == (10 * GIB, ())
    assert plan.layout.blocks * plan.layout.block_bytes <= 10 * GIB
    plan = planned(kv_cache_bytes=400 * GIB)
    assert plan.memory.kv < 0
    assert "leave no 400.0 GiB for the KV cache" in reasons(plan)


def test_a_measured_reserve_replaces_the_estimate() -> None:
    plan = planned(reserve_bytes=5 * GIB)
    assert plan.memory.reserve.total == 5 * GIB
    assert not plan.memory.reserve.estimated


def test_text_only_needs_less_beside_the_weights() -> None:
    # Eight GPUs share the tower's work unless each has it whole.
    whole = planned(vision_data_parallel=True, max_num_seqs=8, max_num_batched_tokens=1024)
    text = planned(text_only=True, max_num_seqs=8, max_num_batched_tokens=1024)
    assert whole.memory.reserve.activations > 1.5 * text.memory.reserve.activations


def test_rooms_count_blocks_and_stop_at_the_most_sequences() -> None:
    plan = planned(max_num_seqs=100)
    by_name = {room.name: room for room in plan.rooms}
    assert by_name["short chat"].blocks == 2 + 6
    assert (by_name["short chat"].at_once, by_name["short chat"].limited_by) == (100, "max_num_seqs")
    assert by_name["256K"].limited_by == "kv cache"
    assert by_name["256K"].at_once == (plan.layout.blocks - 1) // (-(-262_144 // 528) + 6)
    assert (by_name["1M"].at_once, by_name["1M"].limited_by) == (0, "context")


def test_one_block_is_nobodys() -> None:
    layout = planned().layout
    each = layout.blocks_for(8192)
    assert replace(layout, blocks=2 * each).requests(8192) == 1
    assert replace(layout, blocks=2 * each + 1).requests(8192) == 2


def test_replicas_multiply_the_room() -> None:
    plan = planned(tensor_parallel=1, data_parallel=8, expert_parallel=True)
    assert all(room.at_once % 8 == 0 for room in plan.rooms)


def test_bf16_on_8xh100_is_refused_with_what_fits() -> None:
    plan = planned(on="8xH100", weights="bf16")
    assert "the bf16 weights take 92.6 GiB on each GPU, of 71.3 GiB" in reasons(plan)
    near = nearest(plan, formula_layout)
    assert near[0].change == "fp8 weights on 8xH100"
    assert "bf16 weights on 8xH200" in [each.change for each in near]
    assert not any(each.plan.problems for each in near)


def test_a_million_tokens_without_yarn_is_refused_and_with_it_is_not() -> None:
    plan = planned(context=1_010_000)
    assert "beyond the 262,144 positions" in reasons(plan)
    near = nearest(plan, formula_layout)
    assert [each.change for each in near] == ["YaRN with factor 4", "a context of 262,144"]
    assert near[0].plan.deployment.context == 1_010_000
    assert not planned(context=1_010_000, yarn_factor=4.0).problems


def test_more_than_yarn_reaches_is_refused() -> None:
    plan = planned(context=2_000_000, yarn_factor=4.0)
    assert "beyond the 1,048,576 positions" in reasons(plan)
    assert nearest(plan, formula_layout)[0].change == "a context of 262,144"


def test_an_fp8_kv_cache_on_a_gpu_without_it_is_refused() -> None:
    plan = planned(on="8xA100", kv_dtype="fp8")
    assert "A100 has 8.0" in reasons(plan)
    assert [each.change for each in nearest(plan, formula_layout)][:2] == [
        "a BF16 KV cache",
        "an FP8 KV cache on 8xH100",
    ]


def test_too_little_for_one_request_says_how_long_one_could_be() -> None:
    plan = planned(on="4xH200", weights="fp8", tensor_parallel=4, reserve_bytes=int(31.5 * GIB))
    longest = plan.layout.longest_context
    assert 0 < longest < 262_144
    assert f"at most {longest:,} tokens, not of 262,144" in reasons(plan)
    changes = [each.change for each in nearest(plan, formula_layout)]
    assert f"a context of {longest // 1024 * 1024:,}" in changes


def test_faults_of_kind_and_of_size_are_mended_together() -> None:
    plan = planned(on="8xA100", weights="bf16", kv_dtype="fp8")
    assert {problem.kind for problem in plan.problems} == {"fp8 kv", "memory"}
    near = nearest(plan, formula_layout)
    assert near[0].change == "int4 weights on 8xA100, with a BF16 KV cache" or near[0].change.startswith("fp8 weights")
    assert all(each.plan.deployment.kv_dtype == "bf16" for each in near)


def test_the_nearest_are_as_many_as_asked() -> None:
    plan = planned(on="8xH100", weights="bf16")
    assert len(nearest(plan, formula_layout, most=1)) == 1


def test_a_context_changes_nothing_of_the_blocks() -> None:
    short, long = planned(context=32_768), planned()
    assert short.layout.blocks == long.layout.blocks
    assert replace(short.layout, capacity_tokens=0, longest_context=0) == replace(
        long.layout, capacity_tokens=0, longest_context=0
    )
