"""A thinking budget holds in every kind of conversation, and thinking is closed properly when it is used up."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.chat_client import WEATHER, ask, body

pytestmark = pytest.mark.engine

USED = [
    {"role": "user", "content": "What is the weather in Paris?"},
    {
        "role": "assistant",
        "content": None,
        "reasoning": "I call get_weather.",
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "c", "content": "17 degrees"},
]
TURNS = [
    {"role": "user", "content": "My name is Zubavo."},
    {"role": "assistant", "content": "Hello, Zubavo!", "reasoning": "The user is called Zubavo."},
    {"role": "user", "content": "What is 17 + 25?"},
]
CONVERSATIONS: dict[str, dict[str, Any]] = {
    "single turn": body("What is 17 + 25?"),
    "several turns": {**body(), "messages": TURNS},
    "tools": body("What is the weather in Paris?", tools=[WEATHER]),
    "a tool's result": {**body(tools=[WEATHER]), "messages": USED},
    "required": body("What is the weather in Paris?", tools=[WEATHER], tool_choice="required"),
    "a form": body("What is 17 + 25?", structured_outputs={"regex": "[0-9]{1,3}"}),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("field", ["thinking_budget", "thinking_token_budget"])
async def test_a_budget_holds_within_two_tokens(client: httpx.AsyncClient, name: str, field: str) -> None:
    whole = await ask(client, CONVERSATIONS[name])
    needed = whole["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert needed > 3
    worst = 0
    for budget in range(1, needed):
        answer = await ask(client, {**CONVERSATIONS[name], field: budget})
        spent = answer["usage"]["completion_tokens_details"]["reasoning_tokens"]
        worst = max(worst, abs(spent - budget))
        assert worst <= 2, f"{spent} tokens for a budget of {budget}"
        message = answer["choices"][0]["message"]
        # The toy, cut off in a thought, may write a tag into its answer; the thought itself never holds one.
        assert "think>" not in (message["reasoning"] or "")
        assert message["content"] or message.get("tool_calls")
    print(f"{name}: budgets of 1 to {needed - 1} tokens, at most {worst} off")


@pytest.mark.parametrize("fields", [{"thinking_budget": 0}, {"reasoning_effort": "none"}])
async def test_no_budget_is_no_thinking(client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    answer = await ask(client, body("What is 17 + 25?", **fields))
    assert answer["choices"][0]["message"]["reasoning"] is None


async def test_an_effort_that_nobody_knows_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/chat/completions", json=body(reasoning_effort="heroic"))
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "reasoning_effort")
    assert "minimal" in error["message"]


@pytest.mark.parametrize("budget", [2**31, 2**63, 10**30])
async def test_a_budget_beyond_all_bounds_is_no_bound(client: httpx.AsyncClient, budget: int) -> None:
    request = body("What is 17 + 25?")
    assert (await ask(client, {**request, "thinking_budget": budget}))["choices"] == (await ask(client, request))[
        "choices"
    ]
