from __future__ import annotations

import pytest

from server.telemetry.record import TokenCounts
from server.telemetry.trail import Trail


@pytest.mark.parametrize(
    ("budget", "reasoning", "hit"), [(4, 2, True), (4, 1, False), (100, 97, False), (None, 9, False)]
)
def test_a_budget_is_hit_within_two_tokens_of_it(budget: int | None, reasoning: int, hit: bool) -> None:
    trail = Trail("chat", "id")
    trail.budget, trail.tokens = budget, TokenCounts(prompt=5, completion=20, reasoning=reasoning)
    assert trail.finished().budget_hit is hit


def test_a_stage_that_two_parts_are_in_counts_once() -> None:
    trail = Trail("completions", "id")
    for step in (trail.begin, trail.begin, trail.end, trail.end):
        step("queue")
    record = trail.finished()
    assert [span.stage for span in record.spans] == ["queue"]
    assert record.stage_seconds()["queue"] <= record.seconds
