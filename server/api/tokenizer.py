"""POST /tokenize and /detokenize, in vLLM's shape. Nothing is generated, so that no permit is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.admission.tenants import Caller
from server.api.auth import TOKENIZER, caller
from server.api.body import read_body
from server.api.chat import with_tenants_choice
from server.api.disconnect import while_connected
from server.api.document import json_body
from server.api.ignored_parameters import ignored_parameters
from server.api.parsing import check_known, parsed
from server.api.service import Service, service
from server.dialects.parsing import parse_body
from server.dialects.tokenize_request import (
    DetokenizeAnswer,
    DetokenizeRequest,
    TokenizeAnswer,
    TokenizeChatRequest,
    TokenizeRequest,
    TokenizeTextRequest,
    to_prompt,
    to_text,
    to_token_ids,
)
from server.generation.conversation import Conversation
from server.telemetry.metrics import IGNORED_PARAMETERS

router = APIRouter(dependencies=[TOKENIZER])

Asked = TypeVar("Asked")


@router.post("/tokenize", openapi_extra=json_body(TokenizeRequest), responses={200: {"model": TokenizeAnswer}})
async def tokenize(request: Request) -> Response:
    """The tokens of a text, or of a conversation as it would be prefilled."""

    def parse(body: bytearray, at: Service) -> tuple[TokenizeTextRequest | TokenizeChatRequest, str | Conversation]:
        asked = parse_body(TokenizeRequest, body).root
        _check(asked.model, asked.ignored, at, sender)
        if isinstance(asked, TokenizeTextRequest):
            return asked, to_text(asked, at.limits)
        return asked, with_tenants_choice(to_prompt(asked, at.limits), sender.tenant)

    at, sender = service(request), caller(request)
    asked, what = await _read(request, parse)
    assert at.pipeline is not None  # the gate lets nobody in before it is there
    pipeline = at.pipeline

    async def answer() -> bytes:
        if isinstance(asked, TokenizeTextRequest):
            assert isinstance(what, str)
            tokens = await pipeline.tokenize(what, add_special_tokens=asked.add_special_tokens is not False)
        else:
            assert isinstance(what, Conversation)
            tokens = await pipeline.prompt_tokens(what)
        strings = await pipeline.token_strings(tokens) if asked.return_token_strs else None
        body = {
            "count": len(tokens),
            "max_model_len": at.max_model_len,
            "tokens": list(tokens),
            "token_strs": None if strings is None else list(strings),
        }
        return await asyncio.to_thread(orjson.dumps, body)

    content = await while_connected(request.receive, answer())
    return _answered(content, asked.ignored)


@router.post("/detokenize", openapi_extra=json_body(DetokenizeRequest), responses={200: {"model": DetokenizeAnswer}})
async def detokenize(request: Request) -> Response:
    """The text of token ids."""

    def parse(body: bytearray, at: Service) -> tuple[DetokenizeRequest, list[int]]:
        asked = parse_body(DetokenizeRequest, body)
        _check(asked.model, asked.ignored, at, sender)
        return asked, to_token_ids(asked, at.limits)

    at, sender = service(request), caller(request)
    asked, token_ids = await _read(request, parse)
    assert at.pipeline is not None  # the gate lets nobody in before it is there
    text = await while_connected(request.receive, at.pipeline.detokenize(token_ids))
    return _answered(orjson.dumps({"prompt": text}), asked.ignored)


async def _read(request: Request, parse: Callable[[bytearray, Service], Asked]) -> Asked:
    at = service(request)
    at.gate.check()
    body = await read_body(request, at.body_bytes, at.body_values, at.body_seconds)
    asked = await parsed(body, lambda body: parse(body, at))
    # The engine may have gone while the body came.
    at.gate.check()
    return asked


def _check(model: str | None, ignored: Sequence[str], at: Service, sender: Caller) -> None:
    # What names no model means the one that there is.
    at.served(model if model is not None else at.model, sender)
    check_known(ignored, at)


def _answered(content: bytes, ignored: Sequence[str]) -> Response:
    IGNORED_PARAMETERS.inc(len(ignored))
    return Response(content, headers=ignored_parameters(ignored), media_type="application/json")
