"""Whatever fails on Anthropic's routes is told in Anthropic's envelope, and on the others in OpenAI's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.admission.rate_limited import RateLimited
from server.admission.refusals import Reason, Refused
from server.api import messages
from server.app import build_app, build_service
from server.dialects.messages_errors import message_error_json
from server.dialects.messages_schema import MessageErrorEnvelope, ModelInfoList
from server.engine.startup_phases import StartupPhases
from server.generation.errors import (
    BodyTooLarge,
    ContextTooLong,
    EngineDied,
    Interrupted,
    InvalidRequest,
    ModelNotFound,
    RequestFailed,
    Unavailable,
    UnsupportedBody,
)
from server.settings import Settings, load

KEY = "sk-ada-0123456789abcdef"


def refused(status: int) -> Refused:
    failure = Refused(Reason.OVERLOADED, retry_after=2.5, evicted=False)
    failure.status = status
    return failure


FAILURES = [
    (InvalidRequest("No.", param="max_tokens"), 400, "invalid_request_error", "max_tokens: No."),
    (
        InvalidRequest("'max_tokens' is wrong.", param="max_tokens"),
        400,
        "invalid_request_error",
        "'max_tokens' is wrong.",
    ),
    (
        ContextTooLong("5 tokens.", param="messages"),
        400,
        "invalid_request_error",
        "prompt is too long: messages: 5 tokens.",
    ),
    (ModelNotFound("No such."), 404, "not_found_error", "No such."),
    (BodyTooLarge("Too large."), 413, "request_too_large", "Too large."),
    (UnsupportedBody("Not JSON."), 415, "invalid_request_error", "Not JSON."),
    (RateLimited("Wait.", code="tokens_exceeded", type="tokens", retry_after=1.5), 429, "rate_limit_error", "Wait."),
    (EngineDied("Gone."), 500, "api_error", "Gone."),
    (Unavailable("Later.", code="draining", retry_after=2.5), 503, "overloaded_error", "Later."),
    (Interrupted("Later."), 503, "overloaded_error", "Later."),
    (refused(503), 503, "overloaded_error", refused(503).message),
    (refused(529), 529, "overloaded_error", refused(529).message),
    (refused(429), 429, "rate_limit_error", refused(429).message),
    (ValueError("a defect"), 500, "api_error", "The server failed to process this request."),
]


def app(settings: Settings) -> Any:
    return build_app(build_service(settings, StartupPhases(lambda phase, seconds: None)))


async def ask(transport: Any, method: str, path: str, **fields: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        return await client.request(method, path, **fields)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    path = tmp_path / "tenants.yaml"
    path.write_text(f"tenants: [{{name: ada, keys: [{KEY}]}}]")
    transport = httpx.ASGITransport(app(load("generic", {"tenants": {"file": str(path)}})))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        yield client


@pytest.mark.parametrize(("failure", "status", "kind", "message"), FAILURES)
async def test_every_failure(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, status: int, kind: str, message: str
) -> None:
    async def fails(*_: Any) -> None:
        raise failure

    monkeypatch.setattr(messages, "answer", fails)
    transport = httpx.ASGITransport(app(Settings()), raise_app_exceptions=False)
    response = await ask(transport, "POST", "/v1/messages", json={})
    body = response.json()
    MessageErrorEnvelope.model_validate(body)
    assert (response.status_code, body["error"]["type"], body["error"]["message"]) == (status, kind, message)
    assert body["request_id"] == response.headers["request-id"]
    waits = getattr(failure, "retry_after", None)
    assert response.headers.get("retry-after") == (None if waits is None else str(int(-(-waits // 1))))
    assert response.headers.get("retry-after-ms") == (None if waits is None else str(int(waits * 1000)))
    if isinstance(failure, RequestFailed):
        assert body["error"]["details"]["error_code"] == failure.code


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "kind"),
    [
        ("POST", "/v1/messages", {}, 401, "authentication_error"),
        ("POST", "/v1/messages", {"x-api-key": f"{KEY}x"}, 401, "authentication_error"),
        ("POST", "/v1/messages", {"x-api-key": KEY, "authorization": "Bearer other"}, 401, "authentication_error"),
        ("POST", "/v1/messages", {"x-api-key": KEY}, 503, "overloaded_error"),
        ("POST", "/v1/messages/count_tokens", {"authorization": f"Bearer {KEY}"}, 503, "overloaded_error"),
        ("GET", "/v1/messages", {"x-api-key": KEY}, 405, "invalid_request_error"),
        ("GET", "/v1/messages/batches", {"x-api-key": KEY}, 404, "not_found_error"),
        ("GET", "/v1/models", {"anthropic-version": "2023-06-01"}, 401, "authentication_error"),
        ("GET", "/v1/models/none", {"anthropic-version": "x", "x-api-key": KEY}, 404, "not_found_error"),
    ],
)
async def test_what_fails_before_the_route(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], status: int, kind: str
) -> None:
    response = await client.request(method, path, headers=headers)
    body = response.json()
    MessageErrorEnvelope.model_validate(body)
    assert (response.status_code, body["error"]["type"]) == (status, kind)
    assert response.headers["request-id"] == body["request_id"]
    assert KEY not in response.text


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messagesx", "/v1/models"])
async def test_other_routes_keep_openais(client: httpx.AsyncClient, path: str) -> None:
    headers = {} if path == "/v1/models" else {"anthropic-version": "2023-06-01"}
    response = await client.get(path, headers=headers)
    assert set(response.json()) == {"error"}
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert "request-id" not in response.headers


async def test_the_models_in_anthropics_shape(client: httpx.AsyncClient) -> None:
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    listed = (await client.get("/v1/models", headers=headers)).json()
    ModelInfoList.model_validate(listed)
    (info,) = listed["data"]
    assert listed["first_id"] == listed["last_id"] == info["id"]
    assert (await client.get(f"/v1/models/{info['id']}", headers=headers)).json() == info


def test_what_was_sent_is_not_sent_back() -> None:
    told = message_error_json(InvalidRequest("x" * 10**6, param="y" * 10**6), "req_1")
    assert len(str(told)) < 4096
