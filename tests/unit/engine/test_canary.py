from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from server.engine.canary import CANARY_ID, Canary


def llm(*request_ids: str) -> Any:
    return SimpleNamespace(output_processor=SimpleNamespace(request_states=dict.fromkeys(request_ids)))


def stats(tokens: int, finished: int) -> Any:
    return SimpleNamespace(num_generation_tokens=tokens, finished_requests=[None] * finished)


@pytest.mark.parametrize(
    ("others", "statistics", "hidden"),
    [
        ((), stats(1, 1), True),
        ((), None, True),
        ((f"{CANARY_ID}-1a2b",), stats(0, 0), True),
        (("chatcmpl-1",), stats(1, 1), False),
        (("chatcmpl-1",), None, False),
        # Somebody's last token came with it.
        ((), stats(2, 2), False),
    ],
)
def test_only_steps_of_its_own_are_hidden(others: tuple[str, ...], statistics: Any, hidden: bool) -> None:
    canary = Canary()
    assert not canary.is_alone(statistics)
    with canary.under_way(llm(*others)):
        assert canary.is_alone(statistics) is hidden
    assert not canary.is_alone(statistics)
