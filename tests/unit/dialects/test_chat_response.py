from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from server.dialects.chat_response import ChatAnswer, Shown, StreamEncoder, WholeAnswer
from server.generation.errors import EngineDied
from server.generation.events import (
    Batch,
    OutputEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
)
from server.generation.generation import Usage
from server.generation.ports import TokenLogprob

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


def finished(batches: list[list[OutputEvent]]) -> list[Batch]:
    """As the generation gives them: the last one with its reason."""
    return [*(Batch(0, events, [1]) for events in batches), Batch(0, [], [2], finish_reason="stop")]


def frames(batches: list[list[OutputEvent]], *, include_usage: bool) -> list[dict[str, Any]]:
    encoder = StreamEncoder(ChatAnswer("m", "fp"), include_usage=include_usage)
    raw = encoder.start() + b"".join(map(encoder.batch, finished(batches))) + encoder.finish(USAGE)
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
    for batch in finished(ANSWERS[name]):
        whole.add(batch)
    message = ChatCompletion.model_validate_json(whole.encode(["stop"], USAGE)).choices[0].message
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
        for batch in finished(ANSWERS[name]):
            whole.add(batch)
        assert json.loads(whole.encode(["stop"], USAGE))["choices"][0]["message"]["content"] == content


def test_a_failure_is_one_error_event() -> None:
    frame = StreamEncoder.failed(EngineDied("gone"))
    assert json.loads(frame.removeprefix(b"data: ")) == {
        "error": {"message": "gone", "type": "server_error", "param": None, "code": "engine_dead"}
    }


def test_answers_beside_each_other_keep_their_index() -> None:
    batches = [
        Batch(1, [TextDelta("b")], [1]),
        Batch(0, [TextDelta("a")], [2], finish_reason="stop"),
        Batch(1, [], [3], finish_reason="length"),
    ]
    encoder = StreamEncoder(ChatAnswer("m", "fp"), include_usage=False, answers=2)
    raw = encoder.start() + b"".join(map(encoder.batch, batches)) + encoder.finish(USAGE)
    seen: dict[int, list[Any]] = {0: [], 1: []}
    for each in raw.decode().split("\n\n")[:-2]:
        choice = ChatCompletionChunk.model_validate_json(each.removeprefix("data: ")).choices[0]
        seen[choice.index].append(choice.delta.content or choice.finish_reason)
    assert seen == {0: [None, "a", "stop"], 1: [None, "b", "length"]}
    whole = WholeAnswer(ChatAnswer("m", "fp"), 2)
    for batch in batches:
        whole.add(batch)
    choices = ChatCompletion.model_validate_json(whole.encode(["stop", "length"], USAGE)).choices
    assert [(choice.index, choice.message.content, choice.finish_reason) for choice in choices] == [
        (0, "a", "stop"),
        (1, "b", "length"),
    ]


def test_logprobs_and_token_ids_lose_no_token_that_showed_nothing() -> None:
    def told(token: str) -> TokenLogprob:
        return TokenLogprob(token, token.encode(), -0.5, [TokenLogprob(token, token.encode(), -0.5)])

    batches = [
        Batch(0, [ReasoningDelta("hm")], [1], [told("hm")]),
        Batch(0, [], [2], [told("</think>")]),
        Batch(0, [TextDelta("a"), TextDelta("b")], [3, 4], [told("a"), told("é")]),
        Batch(0, [], [5], [told("<|im_end|>")], finish_reason="stop"),
    ]
    shown = Shown(reasoning=False, logprobs=True, token_ids=True)
    encoder = StreamEncoder(ChatAnswer("m", "fp"), include_usage=False, shown=shown, prompt_token_ids=[7, 8])
    raw = encoder.start() + b"".join(map(encoder.batch, batches)) + encoder.finish(USAGE)
    chunks = [json.loads(each.removeprefix("data: ")) for each in raw.decode().split("\n\n")[:-2]]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[0]["prompt_token_ids"] == [7, 8]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert [token for choice in choices for token in choice.get("token_ids", [])] == [1, 2, 3, 4, 5]
    streamed = [entry for choice in choices if choice["logprobs"] for entry in choice["logprobs"]["content"]]
    assert "reasoning" not in raw.decode()
    whole = WholeAnswer(ChatAnswer("m", "fp"), shown=shown, prompt_token_ids=[7, 8])
    for batch in batches:
        whole.add(batch)
    body = json.loads(whole.encode(["stop"], USAGE))
    choice = ChatCompletion.model_validate(body).choices[0]
    assert choice.logprobs is not None
    assert body["choices"][0]["logprobs"]["content"] == streamed
    assert [(entry.token, entry.bytes) for entry in choice.logprobs.content or []][3] == ("é", [195, 169])
    assert (body["prompt_token_ids"], body["choices"][0]["token_ids"]) == ([7, 8], [1, 2, 3, 4, 5])
    assert body["choices"][0]["message"]["reasoning"] is None
