"""One conversation in four dialects: the same text and the same tokens, streamed or whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests import chat_client, messages_client, responses_client
from tests.daemon_process import MODEL
from tests.response_events import comparable

pytestmark = pytest.mark.engine

RED = (220, 30, 30)
LIMIT = 400


@dataclass(frozen=True)
class Said:
    """What an answer says, in whatever dialect."""

    text: str
    thinking: str
    calls: tuple[tuple[str, str], ...]
    cut: bool
    prompt_tokens: int
    tokens: int


@dataclass(frozen=True)
class Case:
    """A conversation of texts, of which the first may be shown an image, with or without a tool."""

    turns: tuple[str, ...]
    system: str | None = None
    thinking: bool = True
    image: bool = False
    tool: bool = False
    limit: int = LIMIT


CASES = {
    "thinking": Case(("What is 17 + 25?",)),
    "no thinking": Case(("Count from 1 to 10.",), thinking=False),
    "several turns": Case(("My name is Rosa. Say hello.", "Hello, Rosa!", "What is my name?"), system="Be kind."),
    "an image": Case(("What color is this image?",), image=True, thinking=False),
    "a tool": Case(("What is the weather in Lisbon?",), tool=True),
    "cut": Case(("Count from 1 to 30.",), thinking=False, limit=7),
}


def roles(case: Case) -> list[tuple[str, str]]:
    return [("user" if index % 2 == 0 else "assistant", text) for index, text in enumerate(case.turns)]


def chat_request(case: Case) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in roles(case)]
    if case.image:
        messages[0]["content"] = [{"type": "text", "text": case.turns[0]}, chat_client.image_part(RED)]
    if case.system:
        messages.insert(0, {"role": "system", "content": case.system})
    return {
        "model": MODEL,
        "messages": messages,
        "temperature": 0,
        "max_tokens": case.limit,
        "enable_thinking": case.thinking,
        **({"tools": [chat_client.WEATHER]} if case.tool else {}),
    }


async def in_chat(client: httpx.AsyncClient, case: Case, streamed: bool) -> Said:
    request = chat_request(case)
    if streamed:
        seen = await chat_client.stream(client, {**request, "stream_options": {"include_usage": True}})
        usage, calls = seen.chunks[-1]["usage"], tuple(seen.tool_calls())
        text, thinking, reason = seen.content, seen.reasoning, seen.finish_reason
    else:
        answer = await chat_client.ask(client, request)
        (choice,) = answer["choices"]
        message, usage, reason = choice["message"], answer["usage"], choice["finish_reason"]
        called = [call["function"] for call in message.get("tool_calls", [])]
        calls = tuple((call["name"], call["arguments"]) for call in called)
        text, thinking = message["content"] or "", message["reasoning"] or ""
    return Said(text, thinking, calls, reason == "length", usage["prompt_tokens"], usage["completion_tokens"])


async def in_completions(client: httpx.AsyncClient, case: Case, streamed: bool) -> Said:
    """The rendered prompt as tokens; the thinking is read here, and a call stays the text that it is."""
    request = chat_request(case)
    tokens = (await client.post("/tokenize", json=request)).json()["tokens"]
    asked = {"model": MODEL, "prompt": tokens, "temperature": 0, "max_tokens": case.limit, "skip_special_tokens": False}
    if streamed:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    answer = await client.post("/v1/completions", json=asked)
    assert answer.status_code == 200, answer.text
    if streamed:
        lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line and "[DONE]" not in line]
        chunks = [json.loads(line) for line in lines]
        text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
        reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
        reason, usage = next(filter(None, reasons)), chunks[-1]["usage"]
    else:
        body = answer.json()
        text, reason, usage = body["choices"][0]["text"], body["choices"][0]["finish_reason"], body["usage"]
    thinking, closer, rest = text.partition("</think>")
    if not closer:
        thinking, rest = "", text
    return Said(
        rest.strip(), thinking.strip(), (), reason == "length", usage["prompt_tokens"], usage["completion_tokens"]
    )


async def in_responses(client: httpx.AsyncClient, case: Case, streamed: bool) -> Said:
    items: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in roles(case)]
    if case.image:
        items[0] = responses_client.user(case.turns[0], responses_client.image(RED))
    request = responses_client.body(
        items, instructions=case.system, enable_thinking=case.thinking, max_output_tokens=case.limit
    )
    if case.tool:
        request["tools"] = [responses_client.WEATHER]
    response = await (responses_client.stream if streamed else responses_client.ask)(client, request)
    usage = response["usage"]
    return Said(
        responses_client.said(response),
        responses_client.thought(response),
        tuple((call["name"], call["arguments"]) for call in responses_client.calls(response)),
        response["status"] == "incomplete",
        usage["input_tokens"],
        usage["output_tokens"],
    )


async def in_messages(client: httpx.AsyncClient, case: Case, streamed: bool) -> Said:
    messages: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in roles(case)]
    if case.image:
        messages[0]["content"] = [{"type": "text", "text": case.turns[0]}, messages_client.image_block(RED)]
    request = {
        **{"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": case.limit},
        "thinking": {"type": "adaptive" if case.thinking else "disabled"},
        **({"system": case.system} if case.system else {}),
        **({"tools": [messages_client.WEATHER]} if case.tool else {}),
    }
    message = await (messages_client.stream if streamed else messages_client.ask)(client, request)
    usage = message["usage"]
    calls = [(block["name"], json.dumps(block["input"])) for block in message["content"] if block["type"] == "tool_use"]
    return Said(
        messages_client.texts(message, "text"),
        messages_client.texts(message, "thinking"),
        tuple(calls),
        message["stop_reason"] == "max_tokens",
        messages_client.input_tokens(usage),
        usage["output_tokens"],
    )


def read(calls: tuple[tuple[str, str], ...]) -> list[tuple[str, Any]]:
    return [(name, json.loads(arguments)) for name, arguments in calls]


@pytest.mark.parametrize("name", CASES)
async def test_all_dialects_say_the_same_streamed_or_whole(client: httpx.AsyncClient, name: str) -> None:
    case = CASES[name]
    chat = await in_chat(client, case, False)
    assert chat.text or chat.calls
    assert bool(chat.thinking) is case.thinking
    assert bool(chat.calls) is case.tool
    assert chat.cut is (case.limit != LIMIT)
    for dialect in (in_chat, in_responses, in_messages):
        for streamed in (False, True):
            said = await dialect(client, case, streamed)
            assert read(said.calls) == read(chat.calls), (dialect.__name__, streamed)
            assert said == Said(chat.text, chat.thinking, said.calls, chat.cut, chat.prompt_tokens, chat.tokens), (
                dialect.__name__,
                streamed,
            )
    if case.image or case.tool:
        return  # a raw prompt shows no image, and its answer holds a call as text
    for streamed in (False, True):
        raw = await in_completions(client, case, streamed)
        assert (raw.text, raw.thinking.strip()) == (chat.text.strip(), chat.thinking.strip()), streamed
        assert (raw.cut, raw.prompt_tokens, raw.tokens) == (chat.cut, chat.prompt_tokens, chat.tokens), streamed


async def test_a_response_is_the_same_streamed_or_whole_to_its_last_field(client: httpx.AsyncClient) -> None:
    request = responses_client.body("What is the weather in Lisbon?", tools=[responses_client.WEATHER])
    whole = await responses_client.ask(client, request)
    streamed = await responses_client.stream(client, request)
    for each in (whole, streamed):
        each["usage"]["input_tokens_details"]["cached_tokens"] = 0
    assert comparable(streamed) == comparable(whole)
