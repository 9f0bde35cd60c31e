"""POST /v1/messages and /v1/messages/count_tokens, in Anthropic's shape."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.admission.classes import PriorityClass
from server.admission.tenants import Caller
from server.api.answering import answer
from server.api.anthropic_shape import request_id
from server.api.asking import priority_class
from server.api.auth import MESSAGES, caller
from server.api.body import read_body
from server.api.chat import with_tenants_choice
from server.api.disconnect import while_connected
from server.api.document import failures, json_body, named_event_content
from server.api.ignored_parameters import ignored_parameters
from server.api.parsing import check_known, parsed
from server.api.service import Service, service
from server.dialects.messages_request import CountTokensRequest, MessagesRequest, to_conversation, to_prompt
from server.dialects.messages_response import MessageAnswer, WholeMessage, new_message_id
from server.dialects.messages_schema import AnswerInMessage, MessageErrorEnvelope, MessageEvent, TokensCounted
from server.dialects.messages_stream import PING, MessageStream
from server.dialects.parsing import parse_body
from server.generation.conversation import Conversation
from server.generation.expectation import Expectation
from server.generation.generation import Generation
from server.generation.merged_generation import RunningGeneration
from server.generation.pipeline import Pipeline
from server.generation.ports import Permit
from server.telemetry.metrics import IGNORED_PARAMETERS

router = APIRouter(dependencies=[MESSAGES])

_FAILURES = failures(MessageErrorEnvelope)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    **_FAILURES,
    200: {"model": AnswerInMessage, "content": named_event_content(MessageEvent, MessageErrorEnvelope)},
}

_TIERS = {
    PriorityClass.INTERACTIVE: "priority",
    PriorityClass.STANDARD: "standard",
    PriorityClass.BATCH: "batch",
}


@router.post("/v1/messages", openapi_extra=json_body(MessagesRequest), responses=_ANSWERS)
async def messages(request: Request) -> Response:
    """Answers a conversation, whole or as a stream of server-sent events, in Anthropic's shape."""
    told = request_id(request)

    def parse(body: bytearray, at: Service, sender: Caller) -> _MessagesExchange:
        return _MessagesExchange(body, at, sender, told)

    answered = await answer(request, parse, PING)
    answered.headers["request-id"] = told
    return answered


@router.post(
    "/v1/messages/count_tokens",
    openapi_extra=json_body(CountTokensRequest),
    responses={**_FAILURES, 200: {"model": TokensCounted}},
)
async def count_tokens(request: Request) -> Response:
    """How many tokens the prompt of a request to `/v1/messages` has. Nothing is generated."""
    at, sender = service(request), caller(request)
    at.gate.check()

    def parse(body: bytearray) -> tuple[list[str], Conversation]:
        asked = parse_body(CountTokensRequest, body)
        at.served(asked.model, sender)
        check_known(asked.ignored, at)
        return asked.ignored, with_tenants_choice(to_prompt(asked, at.limits), sender.tenant)

    ignored, conversation = await parsed(
        await read_body(request, at.body_bytes, at.body_values, at.body_seconds), parse
    )
    # The engine may have gone while the body came.
    at.gate.check()
    assert at.pipeline is not None  # the gate lets nobody in before it is there
    tokens = await while_connected(request.receive, at.pipeline.prompt_tokens(conversation))
    IGNORED_PARAMETERS.inc(len(ignored))
    headers = {**ignored_parameters(ignored), "request-id": request_id(request)}
    return Response(orjson.dumps({"input_tokens": len(tokens)}), headers=headers, media_type="application/json")


class _MessagesExchange:
    """See `server.api.answering.Exchange`."""

    def __init__(self, body: bytearray, at: Service, sender: Caller, told_id: str) -> None:
        asked = self._asked = parse_body(MessagesRequest, body)
        self._model = at.served(asked.model, sender)
        check_known(asked.ignored, at)
        self._conversation = with_tenants_choice(to_conversation(asked, at.limits), sender.tenant)
        self._context = at.max_model_len
        self._request_id = told_id
        self.priority = priority_class(asked.tier, sender)
        self.ignored = asked.ignored
        self.streamed = bool(asked.stream)

    def expect(self, pipeline: Pipeline) -> Sequence[Expectation]:
        return [pipeline.expect(self._conversation)]

    async def start(self, pipeline: Pipeline, permits: Sequence[Permit]) -> Generation:
        (permit,) = permits
        return await pipeline.start(f"message-{uuid.uuid4().hex}", self._conversation, permit)

    def frames(self, running: RunningGeneration) -> MessageStream:
        return MessageStream(self._answer(running), running.usage, self._request_id)

    def whole(self, running: RunningGeneration) -> WholeMessage:
        return WholeMessage(self._answer(running))

    def _answer(self, running: RunningGeneration) -> MessageAnswer:
        return MessageAnswer(
            id=new_message_id(),
            model=self._model,
            tier=_TIERS[self.priority],
            shows_thinking=self._asked.shows_thinking,
            fills_context=self._context is not None and running.usage.prompt + self._asked.max_tokens > self._context,
        )
