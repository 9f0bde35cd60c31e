"""Whatever the model writes and however it is cut into tokens, the events of Responses come in order and add up."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response as OpenaiResponse
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from server.dialects import responses_schema
from server.dialects.responses_output import Response, WholeResponse
from server.dialects.responses_request import ResponsesRequest
from server.dialects.responses_stream import ResponseStream
from server.dialects.responses_thinking import opened
from server.generation.errors import EngineDied
from server.generation.events import Batch, ReasoningDelta, TextDelta, ToolCallArguments, ToolCallEnd, ToolCallStart
from server.generation.generation import Usage
from server.generation.ports import EngineDelta, TokenLogprob
from tests.response_events import added_up, comparable, events
from tests.unit.dialects.any_answer import FRAGMENTS, TOOLS, WHOLE_CALL, deltas, generation_of, streamed_and_whole
from tests.unit.dialects.openai_shape import extras

# OpenAI's API tells them too; its package does not know.
OURS = {"response.store", "name", "logprobs.bytes", "logprobs.top_logprobs.bytes"}
EVENT: Any = TypeAdapter(ResponseStreamEvent)


def response(**fields: Any) -> Response:
    return Response(ResponsesRequest(model="m", input="Hi", **fields), "resp_" + "0" * 32, stored=True, tier=None)


def both(script: list[EngineDelta], fields: dict[str, Any], *, thinking: bool, tools: Any) -> tuple[bytes, bytes]:
    """The stream and the whole answer that these deltas make."""
    generation = generation_of(script, thinking=thinking, tools=tools)
    stream, whole = ResponseStream(response(**fields)), WholeResponse(response(**fields))
    return streamed_and_whole(generation, stream, whole)


SHOWN: list[dict[str, Any]] = [
    {},
    {"reasoning": {"summary": "auto"}},
    {"include": ["reasoning.encrypted_content", "message.output_text.logprobs"]},
    {"include_reasoning": False, "top_logprobs": 1},
]


@given(
    text=st.lists(st.sampled_from([*FRAGMENTS, WHOLE_CALL]), max_size=14).map("".join),
    seed=st.integers(0, 2**32),
    thinking=st.booleans(),
    tools=st.sampled_from([TOOLS, None]),
    shown=st.sampled_from(SHOWN),
    finish=st.sampled_from(["stop", "length"]),
)
@settings(max_examples=500, deadline=None)
def test_events_come_in_order_and_add_up_to_the_whole_answer(
    text: str, seed: int, thinking: bool, tools: Any, shown: dict[str, Any], finish: str
) -> None:
    streamed, whole = both(deltas(0, text, random.Random(seed), finish), shown, thinking=thinking, tools=tools)
    told = events(streamed)
    final = added_up(told)
    assert comparable(final) == comparable(json.loads(whole))
    assert final["status"] == ("incomplete" if finish == "length" else "completed")
    items = [item["status"] for item in final["output"]]
    assert items == ["completed"] * (len(items) - 1) + [final["status"]] * bool(items)
    for item in final["output"]:
        if item["type"] == "reasoning":
            assert "include_reasoning" not in shown
            part = (item["summary"] or item["content"])[0]
            assert bool(item["summary"]) is ("reasoning" in shown)
            if "reasoning.encrypted_content" in shown.get("include", ()):
                assert opened(item["encrypted_content"]) == part["text"]
    for event in told:
        responses_schema.ResponseEvent.model_validate(event)
        unknown_ones = set(extras(EVENT.validate_python(event)))
        assert unknown_ones <= OURS, event["type"]
    responses_schema.ResponseObject.model_validate(json.loads(whole))
    assert set(extras(OpenaiResponse.model_validate(json.loads(whole)))) == {"store"}


def test_a_message_and_a_call_event_by_event() -> None:
    stream = ResponseStream(response())
    made = stream.start()
    for event in (
        ReasoningDelta("hm"),
        TextDelta("Hello"),
        TextDelta(" you"),
        ToolCallStart(0, "f"),
        ToolCallArguments(0, '{"a":'),
        ToolCallArguments(0, "1}"),
        ToolCallEnd(0),
    ):
        made += stream.batch(Batch(0, [event], [1]))
    made += stream.batch(Batch(0, [], [2], finish_reason="tool_calls")) + stream.finish(Usage(5, 1, 7, 2))
    assert [event["type"].removeprefix("response.") for event in events(made)] == [
        *("created", "in_progress"),
        *("output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done"),
        *("content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done"),
        *("content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.delta"),
        *("function_call_arguments.done", "output_item.done"),
        "completed",
    ]
    final = added_up(events(made))
    assert final["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 12,
    }


def test_an_end_that_could_not_be_stored_is_a_failure() -> None:
    stream = ResponseStream(response())
    made = stream.start() + stream.batch(Batch(0, [TextDelta("Hel")], [1]))
    assert b"response.completed" in stream.finish(Usage(5))
    final = added_up(events(made + stream.failed(EngineDied("The store is gone."))))
    assert (final["status"], final["error"]["message"]) == ("failed", "The store is gone.")


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_an_answer_that_ends_early(end: str) -> None:
    stream = ResponseStream(response(), queued=True)
    made = stream.start() + stream.begun() + stream.batch(Batch(0, [TextDelta("Hel")], [1]))
    made += stream.failed(EngineDied("The engine has died.")) if end == "failed" else stream.cancelled()
    final = added_up(events(made))
    assert final["status"] == end
    assert [(item["status"], item["content"][0]["text"]) for item in final["output"]] == [("incomplete", "Hel")]
    assert final["error"] == ({"code": "server_error", "message": "The engine has died."} if end == "failed" else None)


def test_the_reader_sees_what_is_out_of_order() -> None:
    stream = ResponseStream(response())
    made = events(stream.start() + stream.batch(Batch(0, [TextDelta("Hi")], [1])) + stream.finish(Usage(5)))
    for place in range(len(made)):
        for wrong in ([*made[:place], *made[place + 1 :]], [*made[:place], made[place], *made[place:]]):
            with pytest.raises(AssertionError):
                added_up({**event, "sequence_number": number} for number, event in enumerate(wrong))


def test_logprobs_are_those_of_the_text() -> None:
    def told(*tokens: str) -> list[TokenLogprob]:
        return [TokenLogprob(token, token.encode(), -0.5) for token in tokens]

    whole = WholeResponse(response(top_logprobs=0))
    whole.add(Batch(0, [ReasoningDelta("hm")], [1], told("hm")))
    whole.add(Batch(0, [], [7, 8], told("</think>", "\n\n")))
    whole.add(Batch(0, [TextDelta("Hi")], [2], told("Hi")))
    whole.add(Batch(0, [ToolCallStart(0, "f")], [3], told("<tool_call>")))
    body = json.loads(whole.encode(["tool_calls"], Usage(1)))
    message = body["output"][1]["content"][0]
    assert [each["token"] for each in message["logprobs"]] == ["\n\n", "Hi"]
