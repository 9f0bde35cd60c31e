"""POST /v1/chat/completions."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.admission.cache_isolation import cache_salt
from server.admission.tenants import Caller, Tenant
from server.api.answering import answer
from server.api.asking import priority_class, tier_name
from server.api.auth import CHAT
from server.api.document import event_content, json_body
from server.api.parsing import check_known
from server.api.service import Service
from server.dialects.answer_schema import ChatCompletion, ChatCompletionChunk
from server.dialects.chat_request import ChatRequest, to_conversation
from server.dialects.chat_response import ChatAnswer, Shown, StreamEncoder, WholeAnswer
from server.dialects.parsing import parse_body
from server.generation.conversation import Conversation
from server.generation.expectation import Expectation
from server.generation.generation import Generation
from server.generation.merged_generation import RunningGeneration
from server.generation.pipeline import Pipeline
from server.generation.ports import Permit

router = APIRouter(dependencies=[CHAT])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": ChatCompletion, "content": event_content(ChatCompletionChunk)}
}


@router.post("/v1/chat/completions", openapi_extra=json_body(ChatRequest), responses=_ANSWERS)
async def chat_completions(request: Request) -> Response:
    """Answers a conversation, whole or as a stream of server-sent events."""
    return await answer(request, _ChatExchange)


class _ChatExchange:
    """See `server.api.answering.Exchange`."""

    def __init__(self, body: bytearray, at: Service, sender: Caller) -> None:
        asked = self._asked = parse_body(ChatRequest, body)
        model = at.served(asked.model, sender)
        check_known(asked.ignored, at)
        self._conversation = with_tenants_choice(to_conversation(asked, at.limits), sender.tenant)
        self.priority = priority_class(asked.service_tier, sender)
        tier = None if asked.service_tier is None else tier_name(self.priority)
        self._answer = ChatAnswer(model, at.fingerprint, tier)
        self._shown = Shown(asked.include_reasoning is not False, bool(asked.logprobs), bool(asked.return_token_ids))
        self.ignored = asked.ignored
        self.streamed = bool(asked.stream)

    def expect(self, pipeline: Pipeline) -> Sequence[Expectation]:
        return [pipeline.expect(self._conversation)]

    async def start(self, pipeline: Pipeline, permits: Sequence[Permit]) -> Generation:
        (permit,) = permits
        running = await pipeline.start(f"chat-{uuid.uuid4().hex}", self._conversation, permit)
        self._prompt_token_ids = running.prompt_token_ids
        return running

    def frames(self, running: RunningGeneration) -> StreamEncoder:
        return StreamEncoder(
            self._answer,
            include_usage=self._asked.include_usage,
            answers=self._conversation.answers,
            shown=self._shown,
            prompt_token_ids=self._prompt_token_ids,
        )

    def whole(self, running: RunningGeneration) -> WholeAnswer:
        return WholeAnswer(self._answer, self._conversation.answers, self._shown, self._prompt_token_ids)


def with_tenants_choice(conversation: Conversation, tenant: Tenant) -> Conversation:
    """The conversation, with its tenant's place in the prefix cache, and its choice of thinking where the request does
    not speak of it at all.
    """
    conversation = replace(conversation, cache_salt=cache_salt(tenant, conversation.cache_salt))
    said = (conversation.thinking, conversation.thinking_budget, conversation.effort)
    if any(each is not None for each in said):
        return conversation
    return replace(conversation, thinking=tenant.thinking, effort=tenant.effort)
