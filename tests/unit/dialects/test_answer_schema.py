from __future__ import annotations

import pytest
from pydantic import ValidationError

from server.admission.classes import PriorityClass
from server.api.asking import tier_name
from server.dialects.answer_parts import error_json
from server.dialects.answer_schema import ChatCompletion, ChatCompletionChunk, ErrorEnvelope
from server.dialects.chat_response import ChatAnswer, Shown, StreamEncoder, WholeAnswer
from server.generation.errors import EngineDied, InvalidRequest
from server.generation.events import Batch, OutputEvent, ReasoningDelta, TextDelta, ToolCallArguments, ToolCallStart
from server.generation.generation import Usage
from server.generation.ports import TokenLogprob

USAGE = Usage(prompt=7, cached=4, completion=5, reasoning=2)
EVERYTHING = Shown(reasoning=True, logprobs=True, token_ids=True)
LOGPROBS = [TokenLogprob("hm", b"hm", -0.1, [TokenLogprob("hm", b"hm", -0.1)])]
EVENTS: list[OutputEvent] = [
    ReasoningDelta("hm"),
    TextDelta("Hello"),
    ToolCallStart(0, "f"),
    ToolCallArguments(0, '{"a": 1}'),
]


def written(*events: OutputEvent, shown: Shown) -> bytes:
    whole = WholeAnswer(ChatAnswer("m", "fp"), shown=shown, prompt_token_ids=[1, 2])
    whole.add(Batch(0, list(events), [1], LOGPROBS, finish_reason="stop"))
    return whole.encode(["stop"], USAGE)


@pytest.mark.parametrize("shown", [Shown(), EVERYTHING])
def test_a_whole_answer_is_what_the_document_says(shown: Shown) -> None:
    for events in ([], [TextDelta("Hello")], EVENTS):
        ChatCompletion.model_validate_json(written(*events, shown=shown))


@pytest.mark.parametrize("shown", [Shown(), EVERYTHING])
@pytest.mark.parametrize("include_usage", [False, True])
def test_every_chunk_of_a_stream_is_what_the_document_says(include_usage: bool, shown: Shown) -> None:
    encoder = StreamEncoder(ChatAnswer("m", "fp"), include_usage=include_usage, shown=shown, prompt_token_ids=[1, 2])
    batch = Batch(0, EVENTS, [1], LOGPROBS, finish_reason="stop")
    *chunks, done = (encoder.start() + encoder.batch(batch) + encoder.finish(USAGE)).split(b"\n\n")[:-1]
    assert done == b"data: [DONE]"
    assert len(chunks) == 6 + include_usage
    for chunk in chunks:
        ChatCompletionChunk.model_validate_json(chunk.removeprefix(b"data: "))


@pytest.mark.parametrize("priority", PriorityClass)
def test_the_document_knows_every_tier_that_answers_tell(priority: PriorityClass) -> None:
    answer = ChatAnswer("m", "fp", tier_name(priority))
    ChatCompletion.model_validate_json(WholeAnswer(answer).encode(["stop"], USAGE))
    chunk = StreamEncoder(answer, include_usage=False).start().split(b"\n\n")[0]
    ChatCompletionChunk.model_validate_json(chunk.removeprefix(b"data: "))


def test_a_field_that_the_document_does_not_know_is_seen() -> None:
    body = written(TextDelta("Hello"), shown=Shown())
    for old, new in ((b'"refusal":', b'"refused":'), (b'"index":0', b'"index":"0"')):
        assert old in body
        with pytest.raises(ValidationError):
            ChatCompletion.model_validate_json(body.replace(old, new))


def test_an_error_is_what_the_document_says() -> None:
    for error in (EngineDied("gone"), InvalidRequest("no", param="model")):
        ErrorEnvelope.model_validate(error_json(error))
