"""Anthropic's dialect on the real engine: the same answers as chat completions give, streamed or whole."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests import chat_client, messages_client
from tests.chat_client import body as chat_body
from tests.daemon_process import MODEL
from tests.message_events import without_ids
from tests.messages_client import ask, body, count, image_block, input_tokens, stream, texts

pytestmark = pytest.mark.engine

OFF = {"type": "disabled"}
RED = (220, 30, 30)
QUESTION = {"role": "user", "content": "What is the weather in Lisbon?"}
SCHEMA = {"type": "object", "properties": {"polite": {"type": "boolean"}}, "required": ["polite"]}
THOUGHT = {"type": "thinking", "thinking": "I call it.", "signature": "anything"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Lisbon"}}
CHAT_CALL = {
    "role": "assistant",
    "content": None,
    "reasoning": "I call it.",
    "tool_calls": [
        {"id": "toolu_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Lisbon"}'}}
    ],
}

# The same conversation in both dialects: fields of a messages request, and of a chat request.
SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "thinking": (body("What is 17 + 25?"), chat_body("What is 17 + 25?")),
    "no thinking": (body("Count from 1 to 10.", thinking=OFF), chat_body("Count from 1 to 10.", enable_thinking=False)),
    "a budget": (
        body("What is 17 + 25?", thinking={"type": "enabled", "budget_tokens": 3}),
        chat_body("What is 17 + 25?", thinking_budget=3),
    ),
    "an effort": (
        body("Hello!", thinking={"type": "adaptive"}, output_config={"effort": "low"}),
        chat_body("Hello!", reasoning_effort="low"),
    ),
    "cut": (
        body("Count from 1 to 30.", thinking=OFF, max_tokens=7),
        chat_body("Count from 1 to 30.", enable_thinking=False, max_tokens=7),
    ),
    "system": (
        body("Who are you?", system=[{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]),
        {
            **chat_body(),
            "messages": [
                {"role": "system", "content": "Be brief.\nBe kind."},
                {"role": "user", "content": "Who are you?"},
            ],
        },
    ),
    "an image": (
        body([{"type": "text", "text": "What color is this image?"}, image_block(RED)], thinking=OFF),
        chat_body(
            [{"type": "text", "text": "What color is this image?"}, chat_client.image_part(RED)], enable_thinking=False
        ),
    ),
    "a tool": (
        {**body(tools=[messages_client.WEATHER]), "messages": [QUESTION]},
        {**chat_body(tools=[chat_client.WEATHER]), "messages": [QUESTION]},
    ),
    "a tool that must be called": (
        body(tools=[{**messages_client.WEATHER, "strict": True}], tool_choice={"type": "any"}, thinking=OFF),
        chat_body(
            tools=[{**chat_client.WEATHER, "function": {**chat_client.WEATHER["function"], "strict": True}}],
            tool_choice="required",
            enable_thinking=False,
        ),
    ),
    "one call at most": (
        {
            **body(tools=[messages_client.WEATHER], tool_choice={"type": "auto", "disable_parallel_tool_use": True}),
            "messages": [QUESTION],
        },
        {**chat_body(tools=[chat_client.WEATHER], parallel_tool_calls=False), "messages": [QUESTION]},
    ),
    "a named tool": (
        body(tools=[messages_client.WEATHER], tool_choice={"type": "tool", "name": "get_weather"}),
        chat_body(tools=[chat_client.WEATHER], tool_choice={"type": "function", "function": {"name": "get_weather"}}),
    ),
    "a tool's result": (
        {
            **body(tools=[messages_client.WEATHER]),
            "messages": [
                QUESTION,
                {"role": "assistant", "content": [THOUGHT, CALL]},
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "17 degrees"}],
                },
            ],
        },
        {
            **chat_body(tools=[chat_client.WEATHER]),
            "messages": [QUESTION, CHAT_CALL, {"role": "tool", "tool_call_id": "toolu_1", "content": "17 degrees"}],
        },
    ),
    "an image in a result": (
        {
            **body(tools=[messages_client.WEATHER]),
            "messages": [
                QUESTION,
                {"role": "assistant", "content": [CALL]},
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "toolu_1",
                            "is_error": True,
                            "content": [{"type": "text", "text": "See:"}, image_block(RED)],
                        },
                        {"type": "text", "text": "What color is this image?"},
                    ],
                },
            ],
        },
        {
            **chat_body(tools=[chat_client.WEATHER]),
            "messages": [
                QUESTION,
                {**CHAT_CALL, "reasoning": None},
                {
                    "role": "tool",
                    "tool_call_id": "toolu_1",
                    "content": [{"type": "text", "text": "Error: See:"}, chat_client.image_part(RED)],
                },
                {"role": "user", "content": "What color is this image?"},
            ],
        },
    ),
    "a form": (
        body("Hello!", output_config={"format": {"type": "json_schema", "schema": SCHEMA}}),
        chat_body("Hello!", response_format={"type": "json_schema", "json_schema": {"name": "f", "schema": SCHEMA}}),
    ),
    "a beginning": (
        {
            **body(thinking=OFF),
            "messages": [
                {"role": "user", "content": "Count from 1 to 10."},
                {"role": "assistant", "content": [{"type": "text", "text": "1, 2, 3,"}]},
            ],
        },
        {
            **chat_body(enable_thinking=False, continue_final_message=True),
            "messages": [
                {"role": "user", "content": "Count from 1 to 10."},
                {"role": "assistant", "content": "1, 2, 3,"},
            ],
        },
    ),
    "a system text in the middle": (
        {
            **body(system="Be brief."),
            "messages": [QUESTION, {"role": "system", "content": "Be kind."}, QUESTION],
        },
        {**chat_body(), "messages": [{"role": "system", "content": "Be brief.\n\nBe kind."}, QUESTION, QUESTION]},
    ),
}
REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


@pytest.mark.parametrize("name", SAME)
async def test_it_is_answered_as_in_chat_streamed_or_whole(client: httpx.AsyncClient, name: str) -> None:
    asked, chat = SAME[name]
    asked = {**asked, "temperature": 0}
    chat = {"max_tokens": 400, **chat, "temperature": 0}
    tokens = await count(client, asked)
    whole, streamed = await ask(client, asked), await stream(client, asked)

    def without_cache(message: dict[str, Any]) -> dict[str, Any]:
        usage = message["usage"]
        told = {**usage, "input_tokens": input_tokens(usage), "cache_read_input_tokens": 0}
        return {**without_ids(message), "usage": told}

    assert without_cache(streamed) == without_cache(whole)
    assert input_tokens(whole["usage"]) == tokens

    answer = await chat_client.ask(client, chat)
    (choice,) = answer["choices"]
    message, usage = choice["message"], answer["usage"]
    assert texts(whole, "text") == (message["content"] or "")
    assert texts(whole, "thinking") == (message["reasoning"] or "")
    calls = [(block["name"], block["input"]) for block in whole["content"] if block["type"] == "tool_use"]
    assert calls == [
        (call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message.get("tool_calls", [])
    ]
    assert whole["stop_reason"] == REASONS[choice["finish_reason"]]
    assert whole["stop_sequence"] is None
    assert tokens == usage["prompt_tokens"]
    assert whole["usage"]["output_tokens"] == usage["completion_tokens"]
    assert (
        whole["usage"]["output_tokens_details"]["thinking_tokens"]
        == usage["completion_tokens_details"]["reasoning_tokens"]
    )


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("stops", "said", "stopped"),
    [
        ([" 5"], "1, 2, 3, 4,", " 5"),
        (["9", "4, 5", "nothing"], "1, 2, 3, ", "4, 5"),
        (["nothing"], "1, 2, 3, 4, 5, 6, 7, 8, 9, 10", None),
    ],
)
async def test_which_sequence_stopped_it_is_told(
    client: httpx.AsyncClient, stops: list[str], said: str, stopped: str | None, streamed: bool
) -> None:
    request = body("Count from 1 to 10.", thinking=OFF, stop_sequences=stops)
    message = await (stream if streamed else ask)(client, request)
    assert texts(message, "text") == said
    reason = "end_turn" if stopped is None else "stop_sequence"
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, stopped)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_thinking_can_be_left_out(client: httpx.AsyncClient, streamed: bool) -> None:
    adaptive = {"type": "adaptive"}
    shown = await ask(client, body("What is 17 + 25?", thinking=adaptive))
    request = body("What is 17 + 25?", thinking={**adaptive, "display": "omitted"})
    message = await (stream if streamed else ask)(client, request)
    assert message["content"][0] == {**shown["content"][0], "thinking": ""}
    assert message["content"][1:] == shown["content"][1:]


async def test_an_answer_that_fills_the_context_says_so(client: httpx.AsyncClient) -> None:
    """Agents ask for more than is left, and Anthropic's API gives what is."""
    (model,) = (await client.get("/v1/models", headers={"anthropic-version": "2023-06-01"})).json()["data"]
    context = model["max_input_tokens"]
    request = body("Count from 1 to 30.", thinking=OFF, max_tokens=context)
    assert (await ask(client, request))["stop_reason"] == "end_turn"

    # So long that few tokens are left for what is counted.
    def filled(words: int) -> dict[str, Any]:
        return body("word " * words + "Count from 1 to 30.", thinking=OFF, max_tokens=context)

    none, ten = await count(client, filled(0)), await count(client, filled(10))
    request = filled((context - 5 - none) // ((ten - none) // 10))
    tokens = await count(client, request)
    assert context - 12 < tokens < context
    message = await ask(client, request)
    assert message["stop_reason"] == "model_context_window_exceeded"
    assert message["usage"]["output_tokens"] == context - tokens
    refused = await client.post("/v1/messages", json=filled(context))
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    assert refused.json()["error"]["message"].startswith("prompt is too long")


LONG = "\n".join(f"Rule {number}: be kind to guest number {number * number}." for number in range(60))


async def cached(client: httpx.AsyncClient, line: str, salt: str) -> list[int]:
    """The cached prompt tokens of three requests of an agent, whose first system line ends with their number."""
    found = []
    for number in range(3):
        system = [{"type": "text", "text": f"{line} cch={number}{number}{number};"}, {"type": "text", "text": LONG}]
        request = body(f"Say {number}.", system=system, max_tokens=1, cache_salt=salt)
        usage = (await ask(client, request))["usage"]
        assert input_tokens(usage) == await count(client, request)
        found.append(usage["cache_read_input_tokens"])
    return found


async def test_a_billing_line_does_not_destroy_the_prefix_cache(client: httpx.AsyncClient) -> None:
    stripped = await cached(client, "x-anthropic-billing-header: cc_version=2.1.42; cc_entrypoint=cli;", "stripped")
    kept = await cached(client, "x-other-header: cc_version=2.1.42; cc_entrypoint=cli;", "kept")
    print(f"cached tokens with the line left out {stripped}, with it kept {kept}")
    assert stripped[0] == 0
    assert min(stripped[1:]) > 500
    assert max(kept) == 0


async def test_the_line_is_left_out_in_chat_too(client: httpx.AsyncClient) -> None:
    async def prompt(*system: str) -> list[int]:
        messages = [*({"role": "system", "content": text} for text in system), {"role": "user", "content": "Hi"}]
        answer = await chat_client.ask(
            client, {"model": MODEL, "messages": messages, "max_tokens": 1, "return_token_ids": True}
        )
        ids: list[int] = answer["prompt_token_ids"]
        return ids

    line = "x-anthropic-billing-header: cch=1;"
    plain = await prompt("Be kind.")
    assert await prompt(f"{line}\nBe kind.") == await prompt(line, "Be kind.") == plain
    assert await prompt("x-other-header: cch=1;\nBe kind.") != plain


async def test_the_tier_of_an_answer_is_told(client: httpx.AsyncClient) -> None:
    for fields, tier in (
        ({}, "standard"),
        ({"speed": "fast"}, "priority"),
        ({"service_tier": "standard_only"}, "standard"),
    ):
        for read in (ask, stream):
            assert (await read(client, body(max_tokens=1, **fields)))["usage"]["service_tier"] == tier


async def test_headers_and_what_nobody_knows(client: httpx.AsyncClient) -> None:
    headers = {"anthropic-version": "2031-01-01", "anthropic-beta": "some-feature-2031-01-01,other"}
    for path in ("/v1/messages", "/v1/messages?beta=true", "/v1/messages/count_tokens"):
        response = await client.post(path, json=body(max_tokens=1, zz=1, metadata={"user_id": "u"}), headers=headers)
        assert response.status_code == 200, response.text
        assert response.headers["x-qwend-ignored-parameters"] == "zz"
        assert response.headers["request-id"].startswith("req_")


async def test_an_earlier_image_is_counted_as_it_is_used(client: httpx.AsyncClient) -> None:
    request = body([image_block(RED, (640, 480)), {"type": "text", "text": "What color is this image?"}])
    request["messages"] += [{"role": "assistant", "content": "Red."}, QUESTION]
    message = await ask(client, {**request, "max_tokens": 1})
    assert input_tokens(message["usage"]) == await count(client, request) > 80
