"""POST /v1/completions."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.admission.cache_isolation import cache_salt
from server.admission.tenants import Caller
from server.api.answering import answer
from server.api.asking import priority_class
from server.api.auth import COMPLETIONS
from server.api.document import event_content, json_body
from server.api.parsing import check_known
from server.api.service import Service
from server.dialects.answer_schema import Completion, CompletionPiece
from server.dialects.completion_request import CompletionRequest, to_raw_prompts
from server.dialects.completion_response import (
    CompletionAnswer,
    CompletionStream,
    Prompted,
    ShownTokens,
    WholeCompletion,
)
from server.dialects.parsing import parse_body
from server.generation.expectation import Expectation
from server.generation.merged_generation import RunningGeneration
from server.generation.pipeline import Pipeline
from server.generation.ports import Permit

router = APIRouter(dependencies=[COMPLETIONS])

_ANSWERS: dict[int | str, dict[str, Any]] = {200: {"model": Completion, "content": event_content(CompletionPiece)}}


@router.post("/v1/completions", openapi_extra=json_body(CompletionRequest), responses=_ANSWERS)
async def completions(request: Request) -> Response:
    """Goes on with one or more raw prompts, whole or as a stream of server-sent events."""
    return await answer(request, _CompletionExchange)


class _CompletionExchange:
    """See `server.api.answering.Exchange`."""

    def __init__(self, body: bytearray, at: Service, sender: Caller) -> None:
        asked = self._asked = parse_body(CompletionRequest, body)
        model = at.served(asked.model, sender)
        check_known(asked.ignored, at)
        self._prompts = [
            replace(prompt, cache_salt=cache_salt(sender.tenant, prompt.cache_salt))
            for prompt in to_raw_prompts(asked, at.limits)
        ]
        self._answer = CompletionAnswer(model, at.fingerprint)
        self._shown = ShownTokens(asked.logprobs is not None, bool(asked.return_token_ids))
        self._prompted: list[Prompted] = []
        self.ignored = asked.ignored
        self.streamed = bool(asked.stream)
        self.priority = priority_class(asked.service_tier, sender)

    def expect(self, pipeline: Pipeline) -> Sequence[Expectation]:
        return [pipeline.expect_raw(prompt) for prompt in self._prompts]

    async def start(self, pipeline: Pipeline, permits: Sequence[Permit]) -> RunningGeneration:
        # One after the other, so that other requests' prompts are rendered in between.
        prepared = [await pipeline.prepare_raw(prompt) for prompt in self._prompts]
        for each in prepared:
            token_ids = each.prompt.token_ids if self._shown.token_ids else None
            self._prompted += [Prompted(each.echo, token_ids)] * each.order.answers
        return await pipeline.submit_all(f"cmpl-{uuid.uuid4().hex}", prepared, permits)

    def frames(self, running: RunningGeneration) -> CompletionStream:
        return CompletionStream(self._answer, self._prompted, self._shown, include_usage=self._asked.include_usage)

    def whole(self, running: RunningGeneration) -> WholeCompletion:
        return WholeCompletion(self._answer, self._prompted, self._shown)
