from __future__ import annotations

import pytest

from server.admission.quota_rules import NEVER, Kind, Rule, Unit
from server.admission.rate_limited import duration, refusal, spread


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.02, "20ms"),
        (0.0001, "1ms"),
        (1, "1s"),
        (1.2, "2s"),
        (59.5, "1m0s"),
        (360, "6m0s"),
        (86040, "23h54m0s"),
    ],
)
def test_times_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("wait", [0.0, 0.3, 1.0, 30.0, 59.9, 60.0, 86400.0])
def test_a_wait_is_spread_within_its_bounds(wait: float) -> None:
    waits = [spread(wait) for _ in range(200)]
    assert 1 <= min(waits) < max(waits) <= 60
    assert min(waits) >= min(wait, 60 / 1.1)


def test_a_refusal_names_its_quota() -> None:
    rule = Rule("k", Kind.WINDOW, Unit.TOKENS, 400_000, 60, of_key=False)
    error = refusal(rule, 3.0, 900, 399_500)
    assert error.message == (
        "This organization has reached its tokens per minute: limit 400000, used 399500, requested 900."
    )
    assert "can never have a request of this size" in refusal(rule, NEVER, 400_001, 0).message
