from __future__ import annotations

import pytest
from pydantic import ValidationError

from server.dialects.answer_schema import ChatCompletion, ChatCompletionChunk, ErrorEnvelope
from server.dialects.chat_response import ChatAnswer, StreamEncoder, WholeAnswer, error_json
from server.generation.errors import EngineDied, InvalidRequest
from server.generation.events import OutputEvent, ReasoningDelta, TextDelta, ToolCallArguments, ToolCallStart
from server.generation.generation import Usage

USAGE = Usage(prompt=7, cached=4, completion=5, reasoning=2)


def written(*events: OutputEvent) -> bytes:
    whole = WholeAnswer(ChatAnswer("m", "fp"))
    whole.add(events)
    return whole.encode("stop", USAGE)


def test_a_whole_answer_is_what_the_document_says() -> None:
    for events in (
        [],
        [TextDelta("Hello")],
        [ReasoningDelta("hm"), ToolCallStart(0, "f"), ToolCallArguments(0, '{"a": 1}')],
    ):
        ChatCompletion.model_validate_json(written(*events))


@pytest.mark.parametrize("include_usage", [False, True])
def test_every_chunk_of_a_stream_is_what_the_document_says(include_usage: bool) -> None:
    encoder = StreamEncoder(ChatAnswer("m", "fp"), include_usage=include_usage)
    events = [ReasoningDelta("hm"), TextDelta("Hello"), ToolCallStart(0, "f"), ToolCallArguments(0, '{"a": 1}')]
    *chunks, done = (encoder.start() + encoder.events(events) + encoder.finish("stop", USAGE)).split(b"\n\n")[:-1]
    assert done == b"data: [DONE]"
    assert len(chunks) == 6 + include_usage
    for chunk in chunks:
        ChatCompletionChunk.model_validate_json(chunk.removeprefix(b"data: "))


def test_a_field_that_the_document_does_not_know_is_seen() -> None:
    body = written(TextDelta("Hello"))
    for old, new in ((b'"refusal":', b'"refused":'), (b'"index":0', b'"index":"0"')):
        assert old in body
        with pytest.raises(ValidationError):
            ChatCompletion.model_validate_json(body.replace(old, new))


def test_an_error_is_what_the_document_says() -> None:
    for error in (EngineDied("gone"), InvalidRequest("no", param="model")):
        ErrorEnvelope.model_validate(error_json(error))
