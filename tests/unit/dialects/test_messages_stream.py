"""Whatever the model writes and however it is cut into tokens, Anthropic's events come in order and add up."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from server.dialects import messages_schema
from server.dialects.messages_response import MessageAnswer, WholeMessage
from server.dialects.messages_stream import PING, MessageStream
from server.generation.errors import EngineDied
from server.generation.events import Batch, ReasoningDelta, TextDelta, ToolCallArguments, ToolCallEnd, ToolCallStart
from server.generation.generation import Usage
from server.generation.ports import EngineDelta
from tests.message_events import Reader, added_up, events, without_ids
from tests.unit.dialects.any_answer import FRAGMENTS, TOOLS, WHOLE_CALL, deltas, generation_of, streamed_and_whole
from tests.unit.dialects.openai_shape import extras

ANSWER = MessageAnswer("msg_1", "m", "standard")
EVENT: Any = TypeAdapter(RawMessageStreamEvent)


def both(script: list[EngineDelta], answer: MessageAnswer, *, thinking: bool, tools: Any) -> tuple[bytes, bytes]:
    """The stream and the whole answer that these deltas make."""
    generation = generation_of(script, thinking=thinking, tools=tools)
    stream, whole = MessageStream(answer, generation.usage, "req_1"), WholeMessage(answer)
    return streamed_and_whole(generation, stream, whole)


@given(
    text=st.lists(st.sampled_from([*FRAGMENTS, WHOLE_CALL]), max_size=14).map("".join),
    seed=st.integers(0, 2**32),
    thinking=st.booleans(),
    tools=st.sampled_from([TOOLS, None]),
    shows_thinking=st.booleans(),
    fills_context=st.booleans(),
    finish=st.sampled_from(["stop", "length"]),
    stop_string=st.sampled_from([None, "END"]),
)
@settings(max_examples=500, deadline=None)
def test_events_come_in_order_and_add_up_to_the_whole_answer(
    text: str,
    seed: int,
    thinking: bool,
    tools: Any,
    shows_thinking: bool,
    fills_context: bool,
    finish: str,
    stop_string: str | None,
) -> None:
    script = deltas(0, text, random.Random(seed), finish)
    stopped_by = stop_string if finish == "stop" else None
    script[-1] = msgspec.structs.replace(script[-1], stop_string=stopped_by)
    answer = replace(ANSWER, shows_thinking=shows_thinking, fills_context=fills_context)
    streamed, body = both(script, answer, thinking=thinking, tools=tools)

    found = events(streamed)
    for event in found:
        messages_schema.MessageEvent.model_validate_json(json.dumps(event))
        if event["type"] != "ping":
            assert list(extras(EVENT.validate_python(event, strict=True))) == []
    assert found[0]["type"] == "message_start"
    assert found[0]["message"]["usage"]["cache_read_input_tokens"] == 3
    whole = json.loads(body)
    messages_schema.AnswerInMessage.model_validate_json(body)
    assert list(extras(Message.model_validate(whole, strict=True))) == []
    message = added_up(found)
    assert without_ids(message) == without_ids(whole)

    calls = [block for block in whole["content"] if block["type"] == "tool_use"]
    assert len({block["id"] for block in calls}) == len(calls)
    length = "model_context_window_exceeded" if fills_context else "max_tokens"
    ended = "stop_sequence" if stopped_by else length if finish == "length" else "tool_use" if calls else "end_turn"
    assert (whole["stop_reason"], whole["stop_sequence"]) == (ended, stopped_by)
    usage = whole["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == 5
    assert usage["output_tokens"] == sum(len(delta.token_ids) for delta in script)
    for block in whole["content"]:
        if block["type"] == "thinking":
            assert (block["thinking"] == "") is not shows_thinking


def test_blocks_stand_in_the_order_in_which_they_came() -> None:
    script = [
        EngineDelta(text, [9], None, 0) for text in ("hm", "</think>", "\n\nOne", WHOLE_CALL, WHOLE_CALL, "\ntwo")
    ]
    script.append(EngineDelta("", [8], "stop", 0))
    streamed, body = both(script, ANSWER, thinking=True, tools=TOOLS)
    kinds = [block["type"] for block in json.loads(body)["content"]]
    assert kinds == ["thinking", "text", "tool_use", "tool_use", "text"]
    assert [block["type"] for block in added_up(events(streamed))["content"]] == kinds


def test_a_number_keeps_its_digits() -> None:
    number = "123456789012345678901234567890.125"
    whole = WholeMessage(ANSWER)
    whole.add(Batch(0, [ToolCallStart(0, "f"), ToolCallArguments(0, f'{{"a":{number}}}'), ToolCallEnd(0)], [1]))
    assert f'"input":{{"a":{number}}}'.encode() in whole.encode(["tool_calls"], Usage(1))


def test_the_signature_is_the_thinkings_own() -> None:
    def signature(*pieces: str) -> str:
        whole = WholeMessage(ANSWER)
        whole.add(Batch(0, [ReasoningDelta(piece) for piece in pieces], [1]))
        told: str = json.loads(whole.encode(["stop"], Usage(1)))["content"][0]["signature"]
        return told

    assert signature("I ", "think") == signature("I think") != signature("I thunk")


def test_thinking_that_comes_in_two_blocks_is_signed_twice() -> None:
    batch = Batch(0, [ReasoningDelta("one"), TextDelta("a"), ReasoningDelta("two")], [1], finish_reason="stop")
    stream, whole = MessageStream(ANSWER, Usage(1), "req_1"), WholeMessage(ANSWER)
    whole.add(batch)
    message = added_up(events(stream.batch(batch) + stream.finish(Usage(1))))
    assert message == json.loads(whole.encode(["stop"], Usage(1)))
    assert message["content"][0]["signature"] != message["content"][2]["signature"]


def test_a_failure_ends_the_stream_wherever_it_comes() -> None:
    batches = [Batch(0, [ReasoningDelta("hm")], [1]), Batch(0, [TextDelta("a")], [1])]
    for came in range(3):
        stream = MessageStream(ANSWER, Usage(1), "req_1")
        raw = b"".join(map(stream.batch, batches[:came])) + stream.failed(EngineDied("The engine is gone."))
        reader = Reader()
        for event in events(raw):
            reader.read(event)
        messages_schema.MessageErrorEnvelope.model_validate(events(raw)[-1])
        assert reader.error == {
            "type": "api_error",
            "message": "The engine is gone.",
            "details": {"error_code": "engine_dead", "param": None},
        }


def test_a_ping_is_an_event() -> None:
    assert events(PING) == [{"type": "ping"}]


@pytest.mark.parametrize("dropped", range(11))
def test_a_stream_that_lacks_an_event_is_seen(dropped: int) -> None:
    """The reader does find what is wrong."""
    script = [EngineDelta(text, [9], None, 0) for text in ("hm", "</think>", "\n\nOne")]
    script.append(EngineDelta("", [8], "stop", 0))
    found = events(both(script, ANSWER, thinking=True, tools=None)[0])
    assert len(found) == 11
    whole = added_up(events(both(script, ANSWER, thinking=True, tools=None)[0]))
    rest = found[:dropped] + found[dropped + 1 :]
    if found[dropped]["type"] == "ping":
        assert added_up(rest) == whole
    elif found[dropped]["type"] == "content_block_delta" and "signature" not in found[dropped]["delta"]:
        assert added_up(rest) != whole
    else:
        with pytest.raises(AssertionError):
            added_up(rest)


@pytest.mark.parametrize("place", [0, *range(2, 10)])
def test_a_stream_in_another_order_is_seen(place: int) -> None:
    script = [EngineDelta(text, [9], None, 0) for text in ("hm", "</think>", "\n\nOne")]
    script.append(EngineDelta("", [8], "stop", 0))
    found = events(both(script, ANSWER, thinking=True, tools=None)[0])
    other = place + 2 if place == 0 else place + 1
    found[place], found[other] = found[other], found[place]
    with pytest.raises(AssertionError):
        added_up(found)
