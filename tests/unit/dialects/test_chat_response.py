from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from server.dialects.chat_response import ChatAnswer, StreamEncoder, WholeAnswer
from server.generation.errors import EngineDied
from server.generation.events import (
    OutputEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
)
from server.generation.generation import Usage

USAGE = Usage(prompt=7, cached=4, completion=5, reasoning=2)
ANSWERS: dict[str, list[list[OutputEvent]]] = {
    "text": [[TextDelta("Hel")], [TextDelta('lo "you"\n\u2028é🙂')]],
    "thinking": [[ReasoningDelta("hm")], [ReasoningDelta(" yes"), TextDelta("7")]],
    "tools": [
        [ReasoningDelta("call")],
        [ToolCallStart(0, "f"), ToolCallArguments(0, '{"a": ')],
        [ToolCallArguments(0, '"b"}'), ToolCallEnd(0), ToolCallStart(1, "g"), ToolCallArguments(1, "{}")],
        [ToolCallEnd(1)],
    ],
    "nothing": [],
}


def frames(batches: list[list[OutputEvent]], *, include_usage: bool) -> list[dict[str, Any]]:
    encoder = StreamEncoder(ChatAnswer("m", "fp"), include_usage=include_usage)
    raw = encoder.start() + b"".join(map(encoder.events, batches)) + encoder.finish("stop", USAGE)
    assert raw.endswith(b"data: [DONE]\n\n")
    return [json.loads(each.removeprefix("data: ")) for each in raw.decode().split("\n\n")[:-2]]


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("include_usage", [False, True])
def test_frames_are_openai_chunks_that_add_up_to_the_whole_answer(name: str, include_usage: bool) -> None:
    chunks = frames(ANSWERS[name], include_usage=include_usage)
    text, reasoning, calls = "", "", {}
    for raw in chunks:
        chunk = ChatCompletionChunk.model_validate(raw)
        for choice in chunk.choices:
            text += choice.delta.content or ""
            extra = choice.delta.model_extra or {}
            assert extra.get("reasoning") == extra.get("reasoning_content")
            reasoning += extra.get("reasoning") or ""
            for call in choice.delta.tool_calls or []:
                seen = calls.setdefault(call.index, {"name": "", "arguments": "", "ids": []})
                seen["name"] += call.function.name or ""
                seen["arguments"] += call.function.arguments or ""
                seen["ids"] += [call.id] if call.id else []
    whole = WholeAnswer(ChatAnswer("m", "fp"))
    for batch in ANSWERS[name]:
        whole.add(batch)
    message = ChatCompletion.model_validate_json(whole.encode("stop", USAGE)).choices[0].message
    assert text == (message.content or "")
    assert reasoning == (message.model_extra["reasoning"] or "")
    whole_calls = [(call.function.name, call.function.arguments) for call in message.tool_calls or []]
    assert whole_calls == [(call["name"], call["arguments"]) for call in calls.values()]
    assert all(len(call["ids"]) == 1 for call in calls.values()), "a call's id is sent once"


def test_usage_comes_once_and_last() -> None:
    chunks = frames(ANSWERS["text"], include_usage=True)
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 5,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    assert all("usage" not in chunk for chunk in frames(ANSWERS["text"], include_usage=False))


def test_the_finish_reason_comes_once() -> None:
    reasons = [
        choice["finish_reason"] for chunk in frames(ANSWERS["tools"], include_usage=True) for choice in chunk["choices"]
    ]
    assert [reason for reason in reasons if reason] == ["stop"]


def test_content_is_null_with_calls_only_and_empty_with_nothing() -> None:
    for name, content in (("tools", None), ("nothing", "")):
        whole = WholeAnswer(ChatAnswer("m", "fp"))
        for batch in ANSWERS[name]:
            whole.add(batch)
        assert json.loads(whole.encode("stop", USAGE))["choices"][0]["message"]["content"] == content


def test_a_failure_is_one_error_event() -> None:
    frame = StreamEncoder.failed(EngineDied("gone"))
    assert json.loads(frame.removeprefix(b"data: ")) == {
        "error": {"message": "gone", "type": "server_error", "param": None, "code": "engine_dead"}
    }
