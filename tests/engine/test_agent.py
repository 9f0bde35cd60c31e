"""An agent's conversation, turn by turn, as clients send it back: what it costs and that nothing of it is lost."""

from __future__ import annotations

import itertools
import json
from typing import Any

import httpx
import openai
import pytest

from tests.chat_client import WEATHER, ask, body
from tests.daemon_process import MODEL, DaemonProcess

pytestmark = pytest.mark.engine

QUESTION = {"role": "user", "content": "What is the weather in Paris?"}
# The profile keeps a state at the last multiple of this before a prompt's end.
MATCH_UNIT = 32


def report(turn: int, hours: int) -> str:
    """A tool's result of some thirteen tokens an hour, unlike any other turn's."""
    return " ".join(f"Report {turn}: at {hour} o'clock {(hour * 7 + turn) % 40} degrees." for hour in range(hours))


@pytest.mark.parametrize("hours", [6, 40], ids=["short results", "long results"])
def test_every_turn_finds_the_turn_before_it_in_the_cache(daemon: DaemonProcess, hours: int) -> None:
    messages: list[Any] = [{"role": "system", "content": f"You are a helper who likes {hours}."}, QUESTION]
    told = []
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=0) as sdk:
        for turn in range(10):
            answer = sdk.chat.completions.create(
                model=MODEL, messages=messages, tools=[WEATHER], tool_choice="required", max_tokens=200
            )
            told.append(answer.usage)
            message = answer.choices[0].message
            assert message.reasoning
            # As an SDK's client sends it back, with its thinking and all that is null.
            messages.append(message.model_dump())
            messages += [
                {"role": "tool", "tool_call_id": call.id, "content": report(turn, hours)}
                for call in message.tool_calls or []
            ] or [{"role": "user", "content": report(turn, hours)}]
        # What was found there is what would have been computed: another salt finds nothing.
        again: dict[str, Any] = {"model": MODEL, "messages": messages, "tools": [WEATHER], "max_tokens": 24}
        warm, cold = (
            sdk.chat.completions.create(**again, extra_body={"cache_salt": salt} if salt else None)
            for salt in (None, "cold")
        )
    assert warm.choices[0].message.model_dump(exclude={"tool_calls"}) == cold.choices[0].message.model_dump(
        exclude={"tool_calls"}
    )
    assert cold.usage.prompt_tokens_details.cached_tokens == 0 < warm.usage.prompt_tokens_details.cached_tokens
    prompts = [usage.prompt_tokens for usage in told]
    cached = [usage.prompt_tokens_details.cached_tokens for usage in told]
    print(f"prompt tokens {prompts}, of them cached {cached}")
    assert cached[0] <= MATCH_UNIT * 4
    for before, found in zip(prompts[:-1], cached[1:], strict=True):
        # The last token is always computed anew.
        assert found >= (before - 1) // MATCH_UNIT * MATCH_UNIT
    assert all(later > earlier for earlier, later in itertools.pairwise(cached))


async def ids(client: httpx.AsyncClient, *messages: dict[str, Any]) -> list[int]:
    """The prompt's tokens."""
    request = {**body(max_tokens=1, return_token_ids=True, tools=[WEATHER]), "messages": list(messages)}
    token_ids: list[int] = (await ask(client, request))["prompt_token_ids"]
    return token_ids


def calling(arguments: Any = '{"city": "Paris"}', **fields: Any) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": arguments}
    call = {"id": "call_1", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call], **fields}


RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "17 degrees"}


async def test_thinking_in_the_history_is_the_same_however_it_is_sent(client: httpx.AsyncClient) -> None:
    under = [
        calling(reasoning="I call it."),
        calling(reasoning_content="I call it."),
        calling(reasoning="I call it.", reasoning_content="I call it."),
        calling(content="<think>\nI call it.\n</think>\n\n"),
        calling(content="I call it.\n</think>\n\n"),
        calling(content=[{"type": "text", "text": "<think>I call it.</think>"}]),
    ]
    prompts = [await ids(client, QUESTION, message, RESULT) for message in under]
    assert all(prompt == prompts[0] for prompt in prompts)
    assert await ids(client, QUESTION, calling(), RESULT) != prompts[0]


async def test_what_sdks_add_to_a_message_changes_nothing(client: httpx.AsyncClient) -> None:
    plain = await ids(client, QUESTION, calling(), RESULT)
    added = {"refusal": None, "audio": None, "function_call": None, "annotations": [], "name": "helper", "zz": {"a": 1}}
    index = {**calling(), **added}
    index["tool_calls"] = [{**index["tool_calls"][0], "index": 0}]
    others = [
        [{**QUESTION, "name": "ada"}, index, {**RESULT, "name": "get_weather"}],
        [QUESTION, calling({"city": "Paris"}), RESULT],
        [QUESTION, calling(content=""), {**RESULT, "content": [{"type": "text", "text": "17 degrees"}]}],
        [QUESTION, calling(content=[]), {"role": "tool", "content": "17 degrees", "tool_call_id": "of another call"}],
    ]
    for messages in others:
        assert await ids(client, *messages) == plain


async def test_a_refusal_is_read_as_what_was_said(client: httpx.AsyncClient) -> None:
    said = await ids(client, QUESTION, {"role": "assistant", "content": "I won't."}, QUESTION)
    for message in (
        {"role": "assistant", "content": None, "refusal": "I won't."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "I won't."}]},
    ):
        assert await ids(client, QUESTION, message, QUESTION) == said


async def test_system_texts_from_anywhere_lead(client: httpx.AsyncClient) -> None:
    one = await ids(client, {"role": "system", "content": "One.\n\nTwo.\n\nThree."}, QUESTION, RESULT, QUESTION)
    spread = [
        {"role": "developer", "content": "One."},
        QUESTION,
        {"role": "system", "content": [{"type": "text", "text": "Two."}]},
        RESULT,
        QUESTION,
        {"role": "developer", "content": "Three.", "name": "ops"},
    ]
    assert await ids(client, *spread) == one


@pytest.mark.parametrize(
    "messages",
    [
        [QUESTION, {"role": "assistant"}, QUESTION],
        [QUESTION, {"role": "assistant", "content": None}, QUESTION],
        [QUESTION, {"role": "assistant", "content": "", "tool_calls": []}, QUESTION],
        [QUESTION, calling(), {**RESULT, "content": ""}],
        [QUESTION, calling(), {**RESULT, "content": None}],
        [QUESTION, calling(), {**RESULT, "content": []}],
        [QUESTION, RESULT],
        [QUESTION, calling('{"city": "Par'), RESULT],
        [QUESTION, calling("null"), RESULT],
        [{"role": "user", "content": ""}],
        [{"role": "system", "content": ""}, QUESTION],
    ],
)
async def test_gaps_and_leftovers_are_served(client: httpx.AsyncClient, messages: list[dict[str, Any]]) -> None:
    answer = await ask(client, {**body(max_tokens=2), "messages": messages})
    assert answer["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "function", "name": "f", "content": "17"}, "messages[1].role"),
        (
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            "messages[1].function_call",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}]},
            "messages[1].tool_calls[0].type",
        ),
        ({"role": "user", "content": None}, "messages[1].content"),
        ({"role": "system", "content": None}, "messages[1].content"),
    ],
)
async def test_old_and_foreign_forms_are_refused_by_name(
    client: httpx.AsyncClient, message: dict[str, Any], param: str
) -> None:
    response = await client.post("/v1/chat/completions", json={**body(), "messages": [QUESTION, message]})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text


async def test_the_arguments_of_an_earlier_call_reach_the_model(client: httpx.AsyncClient) -> None:
    """The template writes an object's values out; of a string it would write nothing."""
    paris, rome = [
        await ids(client, QUESTION, calling(json.dumps({"city": city})), RESULT) for city in ("Paris", "Rome")
    ]
    assert paris != rome
