"""POST /v1/responses and /v1/responses/input_tokens."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.answering import Entry, Streamed, collect, enter, told_ignored
from server.api.auth import RESPONSES, caller
from server.api.background_responses import BackgroundResponse
from server.api.body import read_body
from server.api.disconnect import while_connected
from server.api.document import json_body, named_event_content
from server.api.event_stream import EventStream
from server.api.ignored_parameters import ignored_parameters
from server.api.parsing import parsed
from server.api.response_exchange import ResponsesExchange
from server.api.response_keeping import Keeping
from server.api.service import Service, service
from server.dialects.answer_schema import ErrorEnvelope
from server.dialects.responses_request import CountInputRequest, ResponsesRequest
from server.dialects.responses_schema import InputTokens, ResponseEvent, ResponseObject
from server.generation.errors import RequestFailed
from server.generation.merged_generation import RunningGeneration
from server.telemetry.metrics import IGNORED_PARAMETERS

router = APIRouter(dependencies=[RESPONSES])

ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": ResponseObject, "content": named_event_content(ResponseEvent, ErrorEnvelope)}
}


@router.post("/v1/responses", openapi_extra=json_body(ResponsesRequest), responses=ANSWERS)
async def create_response(request: Request) -> Response:
    """Answers items: whole, as a stream of server-sent events, or in the background."""
    at = service(request)
    entry = await enter(request, ResponsesExchange, ResponsesExchange.look_up)
    if entry.exchange.background:
        return await _in_background(at, entry)
    running = await while_connected(request.receive, entry.start())
    keeping = Keeping(at, entry.exchange)
    try:
        await keeping.begin()
    except BaseException as error:
        await entry.close(running, error.outcome if isinstance(error, RequestFailed) else "client_gone")
        raise
    headers = told_ignored(entry.exchange)
    if entry.exchange.streamed:
        return _streamed(at, entry, running, keeping, headers)
    return await _whole(request, entry, running, keeping, headers)


@router.post(
    "/v1/responses/input_tokens", openapi_extra=json_body(CountInputRequest), responses={200: {"model": InputTokens}}
)
async def count_input_tokens(request: Request) -> Response:
    """How many tokens the prompt of a request to `/v1/responses` has. Nothing is generated or stored."""
    at, sender = service(request), caller(request)
    at.gate.check()
    body = await read_body(request, at.body_bytes, at.body_values, at.body_seconds)
    exchange = await parsed(body, lambda body: ResponsesExchange(body, at, sender))
    await exchange.look_up()
    # The engine may have gone while the body came.
    at.gate.check()
    assert at.pipeline is not None  # the gate lets nobody in before it is there
    tokens = await while_connected(request.receive, at.pipeline.prompt_tokens(exchange.conversation))
    IGNORED_PARAMETERS.inc(len(exchange.ignored))
    told = orjson.dumps({"object": "response.input_tokens", "input_tokens": len(tokens)})
    return Response(told, headers=ignored_parameters(exchange.ignored), media_type="application/json")


def _streamed(
    at: Service, entry: Entry[ResponsesExchange], running: RunningGeneration, keeping: Keeping, headers: dict[str, str]
) -> EventStream:
    async def close() -> None:
        keeping.give_up()
        await entry.close(running)

    streamed = Streamed(running, entry.exchange.frames(running), entry.watched, keeping.settle)
    return EventStream(streamed.next, close, headers, at.keep_alive, patience=at.patience)


async def _whole(
    request: Request,
    entry: Entry[ResponsesExchange],
    running: RunningGeneration,
    keeping: Keeping,
    headers: dict[str, str],
) -> Response:
    try:
        whole = entry.exchange.whole(running)
        body = await while_connected(request.receive, collect(running, whole, entry.watched))
        await keeping.settle()
    except RequestFailed as error:
        keeping.give_up(error)
        raise
    finally:
        keeping.give_up()
        await entry.close(running)
    return Response(body, headers=headers, media_type="application/json")


async def _in_background(at: Service, entry: Entry[ResponsesExchange]) -> Response:
    assert at.store is not None  # what is not stored is not made in the background
    made = BackgroundResponse(entry, at.store)
    try:
        await at.store.put(entry.exchange.record())
    except BaseException as error:
        entry.end(error.outcome if isinstance(error, RequestFailed) else "client_gone")
        raise
    # From here on the permit is the background's, and its trail too; the client may go.
    entry.watched.detach()
    at.background.run(made)
    headers = told_ignored(entry.exchange)
    if entry.exchange.streamed:
        return made.followed_by(at, -1, headers)
    return Response(orjson.dumps(made.response.json()), headers=headers, media_type="application/json")
