"""Whatever the model writes and however it is cut into tokens, a stream adds up to the whole answer."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from server.dialects import answer_schema
from server.dialects.chat_response import DONE, ChatAnswer, Shown, StreamEncoder, WholeAnswer
from server.generation.ports import EngineDelta
from tests.unit.dialects.any_answer import (
    FRAGMENTS,
    PROMPT_IDS,
    TOOLS,
    WHOLE_CALL,
    deltas,
    generation_of,
    streamed_and_whole,
)
from tests.unit.dialects.openai_shape import check


def both(
    script: list[EngineDelta], answers: int, shown: Shown, *, thinking: bool, tools: Any, include_usage: bool
) -> tuple[bytes, bytes]:
    """The stream and the whole answer that these deltas make."""
    generation = generation_of(script, thinking=thinking, tools=tools, answers=answers)
    identity = ChatAnswer("m", "fp")
    encoder = StreamEncoder(
        identity, include_usage=include_usage, answers=answers, shown=shown, prompt_token_ids=PROMPT_IDS
    )
    whole = WholeAnswer(identity, answers, shown, PROMPT_IDS)
    return streamed_and_whole(generation, encoder, whole)


def chunks(streamed: bytes) -> list[dict[str, Any]]:
    """The stream's objects; every frame is one line of `data:` and a blank one, the last says that all is said."""
    assert streamed.endswith(DONE)
    found = []
    for frame in streamed.removesuffix(DONE).split(b"\n\n")[:-1]:
        assert b"\n" not in frame
        assert b"\r" not in frame
        assert frame.startswith(b"data: {")
        found.append(json.loads(frame[6:]))
    return found


def added_up(found: list[dict[str, Any]], answers: int, shown: Shown) -> list[dict[str, Any]]:
    """The choices of a stream as those of a whole answer, without the ids of the calls."""
    told: list[dict[str, Any]] = [
        {"text": "", "reasoning": "", "calls": {}, "finish": [], "logprobs": [], "ids": []} for _ in range(answers)
    ]
    for chunk in found:
        for choice in chunk["choices"]:
            at, delta = told[choice["index"]], choice["delta"]
            assert not at["finish"], "nothing follows the reason why an answer ended"
            at["text"] += delta.get("content", "")
            at["reasoning"] += delta.get("reasoning", "")
            for call in delta.get("tool_calls", []):
                if "id" in call:
                    assert call["index"] == len(at["calls"])
                    at["calls"][call["index"]] = [call["function"]["name"], ""]
                at["calls"][call["index"]][1] += call["function"]["arguments"]
            at["finish"] += [choice["finish_reason"]] if choice["finish_reason"] else []
            at["logprobs"] += choice["logprobs"]["content"] if choice["logprobs"] else []
            at["ids"] += choice.get("token_ids", [])
    return told


@given(
    texts=st.lists(
        st.lists(st.sampled_from([*FRAGMENTS, WHOLE_CALL]), max_size=14).map("".join), min_size=1, max_size=3
    ),
    seed=st.integers(0, 2**32),
    thinking=st.booleans(),
    tools=st.sampled_from([TOOLS, None]),
    shown=st.builds(Shown, st.booleans(), st.booleans(), st.booleans()),
    include_usage=st.booleans(),
    finish=st.sampled_from(["stop", "length"]),
)
@settings(max_examples=500, deadline=None)
def test_a_stream_adds_up_to_the_whole_answer(
    texts: list[str], seed: int, thinking: bool, tools: Any, shown: Shown, include_usage: bool, finish: str
) -> None:
    chance = random.Random(seed)
    lines = [deltas(answer, text, chance, finish) for answer, text in enumerate(texts)]
    script = []
    while any(lines):
        script.append(chance.choice([line for line in lines if line]).pop(0))
    answers = len(texts)
    streamed, body = both(script, answers, shown, thinking=thinking, tools=tools, include_usage=include_usage)

    found, whole = chunks(streamed), json.loads(body)
    check(ChatCompletion, whole)
    answer_schema.ChatCompletion.model_validate_json(body)
    for chunk in found:
        check(ChatCompletionChunk, chunk)
        answer_schema.ChatCompletionChunk.model_validate(chunk)
        assert chunk["id"] == whole["id"]

    for told, choice in zip(added_up(found, answers, shown), whole["choices"], strict=True):
        message = choice["message"]
        assert told["text"] == (message["content"] or "")
        assert told["reasoning"] == (message["reasoning"] or "")
        calls = [[call["function"]["name"], call["function"]["arguments"]] for call in message.get("tool_calls", [])]
        assert list(told["calls"].values()) == calls
        assert all(isinstance(json.loads(arguments), dict) for _, arguments in calls)
        assert told["finish"] == [choice["finish_reason"]]
        assert choice["finish_reason"] == ("tool_calls" if calls and finish == "stop" else finish)
        assert told["logprobs"] == (choice["logprobs"]["content"] if shown.logprobs else [])
        assert told["ids"] == choice.get("token_ids", [])
    usages = [chunk["usage"] for chunk in found if chunk.get("usage")]
    assert usages == ([whole["usage"]] if include_usage else [])
    assert whole["usage"]["completion_tokens"] == sum(len(delta.token_ids) for delta in script)
    if shown.token_ids:
        assert found[0]["prompt_token_ids"] == whole["prompt_token_ids"]


@pytest.mark.parametrize("cut", range(1, len(WHOLE_CALL)))
def test_a_call_that_is_cut_streams_what_had_come(cut: int) -> None:
    def arguments(text: str, finish: str) -> str:
        script = [EngineDelta(char, [9], None, 0) for char in text] + [EngineDelta("", [], finish, 0)]
        streamed, body = both(script, 1, Shown(), thinking=False, tools=TOOLS, include_usage=False)
        choice = json.loads(body)["choices"][0]
        assert choice["finish_reason"] == ("tool_calls" if finish == "stop" else "length")
        (told,) = added_up(chunks(streamed), 1, Shown())
        return "".join(piece for _, piece in told["calls"].values())

    assert json.loads(arguments(WHOLE_CALL, "stop")) == {"text": "hello"}
    if came := arguments(WHOLE_CALL[:cut], "length"):
        # A `<` at the very end may be the value's own.
        assert "hello\n<".startswith(json.loads(came).get("text", ""))


def test_a_field_that_openai_does_not_know_is_seen() -> None:
    _, body = both(
        deltas(0, "hello", random.Random(1), "stop"), 1, Shown(), thinking=False, tools=None, include_usage=True
    )
    for old, new in (
        (b'"refusal":', b'"refused":'),
        (b'"cached_tokens":', b'"hit_tokens":'),
        (b'"index":0', b'"index":"0"'),
    ):
        assert old in body
        with pytest.raises((AssertionError, ValueError)):
            check(ChatCompletion, json.loads(body.replace(old, new)))
