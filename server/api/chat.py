"""POST /v1/chat/completions."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from server.api.body import read_body
from server.api.disconnect import ClientGone, while_connected
from server.api.document import event_content, json_body
from server.api.event_stream import EventStream
from server.api.ignored_parameters import ignored_parameters
from server.api.service import Service, service
from server.dialects.answer_schema import ChatCompletion, ChatCompletionChunk
from server.dialects.chat_request import ChatRequest, to_conversation
from server.dialects.chat_response import ChatAnswer, Shown, StreamEncoder, WholeAnswer
from server.dialects.parsing import parse_body
from server.generation.conversation import Conversation
from server.generation.errors import InvalidRequest, ModelNotFound, RequestFailed
from server.generation.generation import Generation
from server.generation.ports import Permit
from server.telemetry.metrics import IGNORED_PARAMETERS

router = APIRouter()

# Above this size a body is parsed in a thread, so that it does not hold up other requests' tokens.
_PARSE_ON_LOOP_BYTES = 64 * 1024

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": ChatCompletion, "content": event_content(ChatCompletionChunk)}
}


@router.post("/v1/chat/completions", openapi_extra=json_body(ChatRequest), responses=_ANSWERS)
async def chat_completions(request: Request) -> Response:
    """Answers a conversation, whole or as a stream of server-sent events."""
    at = service(request)
    permit = at.gate.enter()
    try:
        asked, conversation = await _parse(await read_body(request, at.body_bytes), at)
        generation = await while_connected(request.receive, _start(at, conversation, permit))
    except BaseException as error:
        permit.end(error.outcome if isinstance(error, RequestFailed) else "client_gone" if _left(error) else "error")
        raise
    headers = ignored_parameters(asked.ignored)
    IGNORED_PARAMETERS.inc(len(asked.ignored))
    answer = ChatAnswer(at.model, at.fingerprint, None if asked.service_tier is None else "default")
    shown = Shown(asked.include_reasoning is not False, bool(asked.logprobs), bool(asked.return_token_ids))
    if asked.stream:
        include_usage = asked.stream_options is not None and asked.stream_options.include_usage
        encoder = StreamEncoder(answer, include_usage=include_usage, answers=conversation.answers, shown=shown)
        return EventStream(_frames(generation, encoder), generation.close, headers, at.keep_alive)
    try:
        whole = await while_connected(
            request.receive, _collect(generation, WholeAnswer(answer, conversation.answers, shown))
        )
    finally:
        await generation.close()
    return Response(whole, headers=headers, media_type="application/json")


async def _parse(body: bytes, at: Service) -> tuple[ChatRequest, Conversation]:
    def parse() -> tuple[ChatRequest, Conversation]:
        asked = parse_body(ChatRequest, body)
        if asked.model != at.model:
            raise ModelNotFound(f"The model {asked.model!r} does not exist here; this is {at.model!r}.", param="model")
        if at.strict and asked.ignored:
            name = asked.ignored[0]
            raise InvalidRequest(f"Unknown parameter: {name!r}.", param=name, code="unknown_parameter")
        return asked, to_conversation(asked, at.limits)

    return parse() if len(body) <= _PARSE_ON_LOOP_BYTES else await asyncio.to_thread(parse)


async def _start(at: Service, conversation: Conversation, permit: Permit) -> Generation:
    assert at.pipeline is not None  # the gate lets nobody in before it is there
    return await at.pipeline.start(f"chat-{uuid.uuid4().hex}", conversation, permit)


async def _collect(generation: Generation, whole: WholeAnswer) -> bytes:
    async for batch in generation.events():
        whole.add(batch)
    return whole.encode(generation.finish_reasons, generation.usage, generation.prompt_token_ids)


async def _frames(generation: Generation, encoder: StreamEncoder) -> AsyncGenerator[bytes, None]:
    try:
        yield encoder.start(generation.prompt_token_ids)
        async with contextlib.aclosing(generation.events()) as batches:
            async for batch in batches:
                if frames := encoder.batch(batch):
                    yield frames
        yield encoder.finish(generation.usage)
    except RequestFailed as error:
        yield encoder.failed(error)


def _left(error: BaseException) -> bool:
    return isinstance(error, ClientGone | ClientDisconnect | asyncio.CancelledError)
