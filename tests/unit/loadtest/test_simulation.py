"""The simulated engine does what its scenarios' figures rest on."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.arrivals import on_off, poisson
from loadtest.simulation import report, traces
from loadtest.simulation.engine import PREFIX_TOKENS, Running, SimulatedEngine
from loadtest.simulation.policies import VllmCaps
from loadtest.simulation.results import Attempt
from loadtest.simulation.run import POLICIES, World, simulate
from loadtest.simulation.workload import Lengths, Request, Source, merged
from loadtest.statistics import jain
from server.admission.policy.engine_model import StepCosts
from server.generation.engine_state import EngineSize

SIZE = EngineSize(sequences=4, step_tokens=100, blocks=40, block_tokens=10, constant_blocks=2, max_model_len=1000)
COSTS = StepCosts(0.01, 1e-3, 0.0)


def test_prompts_are_computed_in_chunks_beside_decoding() -> None:
    engine = SimulatedEngine(SIZE, COSTS)
    short, long = Running("short", 10, 5), Running("long", 150, 2)
    engine.submit(short)
    assert engine.begin(0.0) == pytest.approx(0.02)
    assert engine.end().tokens == [short]
    engine.submit(long)
    assert engine.begin(0.0) == pytest.approx(0.01 + 0.1), "one token of the short one and 99 of the long one"
    step = engine.end()
    assert (step.report.prefill_tokens, step.report.decode_tokens) == (99, 1)
    assert step.tokens == [short]
    engine.begin(0.0)
    assert engine.end().tokens == [short, long]


def test_a_long_prompt_can_be_held_to_small_chunks() -> None:
    engine = SimulatedEngine(SIZE, COSTS, long_prefill=20)
    engine.submit(Running("long", 150, 2))
    assert engine.begin(0.0) == pytest.approx(0.01 + 0.02)


def test_the_newest_is_put_back_where_no_block_is_free() -> None:
    engine = SimulatedEngine(SIZE, COSTS)
    first, second = Running("first", 90, 200), Running("second", 90, 200)
    engine.submit(first)
    engine.submit(second)
    while not engine.preemptions:
        engine.begin(0.0)
        engine.end()
    assert engine.running == [first]
    assert list(engine.waiting) == [second]
    assert (second.computed, second.blocks) == (0, 0)
    while engine.begin(0.0) is not None:
        engine.end()
    assert (first.made, second.made) == (200, 200)
    assert engine.free == SIZE.blocks


def test_a_known_prefix_is_not_computed_again_and_an_abort_frees_its_blocks() -> None:
    size = EngineSize(sequences=4, step_tokens=4000, blocks=900, block_tokens=10, constant_blocks=2, max_model_len=9000)
    engine = SimulatedEngine(size, COSTS)
    engine.submit(Running("a", 2 * PREFIX_TOKENS + 7, 1, prefix=(1, 2)))
    engine.begin(0.0)
    engine.end()
    again = Running("b", 3 * PREFIX_TOKENS, 50, prefix=(1, 2, 3))
    engine.submit(again)
    assert engine.begin(0.0) == pytest.approx(0.01 + PREFIX_TOKENS * 1e-3)
    assert again.cached == 2 * PREFIX_TOKENS
    engine.abort(again)
    assert engine.end().released == [again]
    assert engine.free == size.blocks


def a_workload() -> list[Request]:
    sources = [
        Source("a", poisson(4.0), Lengths(50, most=200), Lengths(20, most=60), max_tokens=60, cancels=0.3),
        Source("b", on_off(8.0, 2.0, 2.0), Lengths(50, most=200), Lengths(20, most=60), max_tokens=60),
    ]
    return merged(*(source.requests(7, 20.0) for source in sources))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_run_is_the_same_for_the_same_seed(policy: str) -> None:
    def figures() -> list[tuple[str, float | None, float | None]]:
        results = simulate(World(SIZE, COSTS), a_workload(), policy, 20.0)
        return [(each.outcome, each.first_token, each.ended) for each in results.attempts]

    assert figures() == figures()
    assert {outcome for outcome, _, _ in figures()} >= {"complete", "cancelled"}


class House:
    def __init__(self) -> None:
        self.inside: list[Attempt] = []
        self.refused: list[Attempt] = []

    def submit(self, attempt: Attempt, made: int) -> None:
        self.inside.append(attempt)

    def end(self, attempt: Attempt, outcome: str, retry_after: float | None = None) -> None:
        self.refused.append(attempt)


def test_vllms_caps_count_whole_prompts_until_the_first_token_and_requests_until_the_end() -> None:
    house = House()
    caps = VllmCaps(house, SIZE, COSTS, ttft_seconds=1.0)  # 909 tokens, 8 requests
    attempts = [Attempt(n, Request(0.0, "a", 400, 5), 0.0) for n in range(20)]
    for attempt in attempts[:3]:
        caps.arrive(0.0, attempt)
    assert house.refused == attempts[2:3]
    for n in range(3, 12):
        caps.made(0.0, house.inside[-1], 1, 0)
        caps.arrive(0.0, attempts[n])
    assert len(house.inside) == 8
    caps.left(0.0, house.inside[0], complete=True)
    caps.arrive(0.0, attempts[15])
    assert len(house.inside) == 9


def test_traces_are_read(tmp_path: Path) -> None:
    azure = tmp_path / "azure.csv"
    azure.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n",
        encoding="utf-8",
    )
    first, second = traces.azure(azure)
    assert (first.at, first.prompt, first.output) == (0.0, 374, 44)
    assert second.at == pytest.approx(4.3146, abs=1e-3)
    mooncake = tmp_path / "mooncake.jsonl"
    row = '{"timestamp": 1500, "input_length": 1100, "output_length": 50, "hash_ids": [0, 5, 6]}\n'
    mooncake.write_text(row * 2, encoding="utf-8")
    first, second = traces.mooncake(mooncake)
    assert (first.at, first.prompt, first.prefix) == (1.5, 1100, (0, 5))
    assert first.tenant == second.tenant, "a conversation belongs to one tenant"
    assert traces.faster([first], 3.0)[0].at == 0.5


def test_tenants_of_a_trace_are_unequal() -> None:
    draw = traces.zipf_tenants(1)
    drawn = [draw() for _ in range(5000)]
    assert drawn.count("tenant-00") > 8 * drawn.count("tenant-20") > 0


def test_jains_index() -> None:
    assert jain([5, 5, 5]) == 1
    assert jain([1, 0, 0, 0]) == 0.25


def test_tables_go_to_the_places_of_their_names_and_nowhere_else(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "before\n\n<!-- table: a -->\n\nold\n\n<!-- end -->\n\nbetween\n\n<!-- table: b -->\n\nkept\n\n<!-- end -->\n"
    )
    report.put(document, {"a": report.table(["x"], [[1.5]])})
    assert document.read_text() == (
        "before\n\n<!-- table: a -->\n\n| x |\n| --- |\n| 1.50 |\n\n<!-- end -->\n\nbetween\n\n"
        "<!-- table: b -->\n\nkept\n\n<!-- end -->\n"
    )
    with pytest.raises(ValueError, match="0 places"):
        report.put(document, {"c": ""})
