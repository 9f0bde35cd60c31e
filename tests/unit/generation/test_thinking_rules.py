"""Whether to think and for how long: the request outright, then its effort, then the profile."""

from __future__ import annotations

from typing import Any

import pytest

from server.generation.conversation import Conversation, Sampling
from server.generation.errors import InvalidRequest
from server.generation.pipeline import Defaults, thinking_and_budget


def decided(*, by_default: bool = True, **request: Any) -> tuple[bool, int | None]:
    defaults = Defaults(
        thinking=by_default,
        max_tokens=None,
        sampling_thinking=Sampling(),
        sampling_direct=Sampling(),
        max_images=1,
        max_videos=1,
        effort_budgets={"none": 0, "low": 100, "xhigh": None},
    )
    return thinking_and_budget(Conversation(messages=(), **request), defaults)


@pytest.mark.parametrize(
    ("request_", "by_default", "expected"),
    [
        ({}, True, (True, None)),
        ({}, False, (False, None)),
        ({"thinking": False}, True, (False, None)),
        ({"thinking": True}, False, (True, None)),
        ({"effort": "low"}, False, (True, 100)),
        ({"effort": "xhigh"}, False, (True, None)),
        ({"effort": "none"}, True, (False, None)),
        ({"effort": "none", "thinking": True}, False, (False, None)),
        ({"effort": "low", "thinking": False}, True, (False, 100)),
        ({"effort": "low", "thinking_budget": 7}, True, (True, 7)),
        ({"thinking_budget": 7}, False, (False, 7)),
        ({"thinking_budget": 0}, True, (False, None)),
    ],
)
def test_thinking_and_its_budget(request_: dict[str, Any], by_default: bool, expected: tuple[bool, int | None]) -> None:
    assert decided(by_default=by_default, **request_) == expected


def test_an_unknown_effort_lists_the_known_ones() -> None:
    with pytest.raises(InvalidRequest) as refused:
        decided(effort="heroic")
    assert refused.value.param == "reasoning_effort"
    assert "none, low, xhigh" in refused.value.message
    with pytest.raises(InvalidRequest, match=r"output_config\.effort") as refused:
        decided(effort="heroic", effort_param="output_config.effort")
    assert refused.value.param == "output_config.effort"
