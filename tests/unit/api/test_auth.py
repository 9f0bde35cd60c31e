from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.requests import Request

from server.admission.tenants import InvalidApiKey
from server.api.admin import Controls, build_admin_app
from server.api.auth import CHAT, PUBLIC, api_key, check_policies, policies
from server.app import build_app, build_service
from server.engine.startup_phases import StartupPhases
from server.settings import Settings, load

ADA = "sk-ada-0123456789abcdef"


def app_of(settings: Settings) -> FastAPI:
    return build_app(build_service(settings, StartupPhases(lambda phase, seconds: None)))


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A daemon whose engine is not there yet, with one tenant."""
    path = tmp_path / "tenants.yaml"
    path.write_text(f"tenants: [{{name: ada, keys: [{ADA}], quotas: {{requests_per_minute: 60}}}}]")
    app = app_of(load("generic", {"tenants": {"file": str(path)}, "server": {"metrics_need_key": True}}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw})


POLICIES = {
    "/v1/chat/completions": "chat_key",
    "/v1/completions": "completions_key",
    "/v1/messages": "messages_key",
    "/v1/messages/count_tokens": "messages_key",
    "/v1/responses": "responses_key",
    "/v1/responses/input_tokens": "responses_key",
    "/v1/responses/{response_id}": "responses_key",
    "/v1/responses/{response_id}/cancel": "responses_key",
    "/v1/responses/{response_id}/input_items": "responses_key",
    "/tokenize": "tokenizer_key",
    "/detokenize": "tokenizer_key",
    "/v1/models": "any_key",
    "/v1/models/{name:path}": "any_key",
    "/metrics": "metrics_reader",
    "/openapi.json": "document_reader",
    "/docs": "document_reader",
    "/version": "public",
    "/health": "public",
    "/health/ready": "public",
    "/health/live": "public",
}


def test_every_route_has_the_policy_that_it_should() -> None:
    """Whoever adds a route says here who may use it."""
    assert policies(app_of(Settings())) == POLICIES


@pytest.mark.parametrize(
    ("documents", "there"), [("public", {"/openapi.json", "/docs"}), ("key", {"/openapi.json"}), ("none", set())]
)
async def test_the_apis_documents_follow_the_settings(documents: str, there: set[str], tmp_path: Path) -> None:
    path = tmp_path / "tenants.yaml"
    path.write_text(f"tenants: [{{name: ada, keys: [{ADA}]}}]")
    app = app_of(load("generic", {"tenants": {"file": str(path)}, "server": {"documents": documents}}))
    assert set(policies(app)) & {"/openapi.json", "/docs", "/redoc", "/docs/oauth2-redirect"} == there
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for target in ("/openapi.json", "/docs"):
            without = 404 if target not in there else 401 if documents == "key" else 200
            assert (await client.get(target)).status_code == without
            with_key = await client.get(target, headers={"x-api-key": ADA})
            assert with_key.status_code == (200 if target in there else 404)


def test_the_admin_routes_have_theirs() -> None:
    at = build_service(Settings(), StartupPhases(lambda phase, seconds: None))
    admin = build_admin_app(Controls(at.tenants, at.quotas, at.desk, lambda: None, lambda: at.gate.state, lambda: 0))
    assert set(policies(admin)) == {
        *("/", "/openapi.json"),
        *(f"/admin/{name}" for name in ("reload", "tenants", "drain", "queue", "log-level", "status")),
    }
    assert set(policies(admin).values()) == {"admin"}


@pytest.mark.parametrize("declared", [[], [PUBLIC, CHAT]], ids=["none", "two"])
def test_an_app_with_a_route_without_one_policy_is_not_built(declared: list[object]) -> None:
    router = APIRouter()
    router.add_api_route("/secret", lambda: None, dependencies=declared)
    app = FastAPI(openapi_url=None)
    app.include_router(router)
    with pytest.raises(RuntimeError, match="/secret must have one auth policy"):
        check_policies(app)


def test_nor_is_one_with_something_mounted() -> None:
    app = FastAPI(openapi_url=None)
    app.mount("/inner", FastAPI())
    with pytest.raises(RuntimeError, match="/inner"):
        check_policies(app)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"authorization": "Bearer k"}, "k"),
        ({"authorization": "bearer  k "}, "k"),
        ({"x_api_key": "k"}, "k"),
        ({"api_key": "k"}, "k"),
        ({"authorization": "Bearer k", "x_api_key": "k", "api_key": " k "}, "k"),
        ({"authorization": "Basic Zm9vOmJhcg==", "x_api_key": "k"}, "k"),
        ({"authorization": "Bearer ", "x_api_key": "k"}, "k"),
        ({"authorization": "Basic Zm9vOmJhcg=="}, None),
        ({"authorization": "k"}, None),
        ({}, None),
    ],
)
def test_where_a_key_may_be(headers: dict[str, str], key: str | None) -> None:
    assert api_key(request(**headers)) == key


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer k", "x_api_key": "other"},
        {"authorization": "Bearer k", "api_key": "other"},
        {"x_api_key": "k", "api_key": "K"},
    ],
)
def test_keys_that_differ_are_none(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidApiKey, match="differ"):
        api_key(request(**headers))


async def test_nor_do_they_open_anything(client: httpx.AsyncClient) -> None:
    for other in (ADA, f"{ADA}x"):
        answer = await client.get("/v1/models", headers={"authorization": f"Bearer {ADA}", "x-api-key": other})
        assert answer.status_code == (200 if other == ADA else 401)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/x", "/v1//../v1/models", "/metrics"])
async def test_a_key_is_asked_for(client: httpx.AsyncClient, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer sk-wrong-0123456789"}, {"host": "test/health"}):
        answer = await client.get(path, headers=headers)
        assert answer.status_code in (401, 404), path
        if answer.status_code == 401:
            assert answer.headers["www-authenticate"] == "Bearer"
            error = answer.json()["error"]
            assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
            assert "sk-wrong" not in answer.text
    assert (await client.get("/metrics")).status_code == 401


async def test_a_refusal_comes_before_the_body_is_looked_at(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/chat/completions", content=b"not json")
    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/health/live", "/openapi.json", "/docs"])
async def test_what_is_public_needs_none(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code in (200, 503)


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key"])
async def test_a_key_opens_and_the_answer_tells_the_limits(client: httpx.AsyncClient, header: str) -> None:
    answer = await client.get("/v1/models", headers={header: f"Bearer {ADA}" if header == "authorization" else ADA})
    assert answer.status_code == 200
    assert answer.headers["x-ratelimit-limit-requests"] == "60"
    missing = await client.get("/v1/models/none", headers={"x-api-key": ADA})
    assert (missing.status_code, missing.headers["x-ratelimit-limit-requests"]) == (404, "60")


async def test_without_a_file_any_key_does() -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app_of(Settings())), base_url="http://test") as client:
        for headers in ({}, {"authorization": "Bearer none"}):
            assert (await client.get("/v1/models", headers=headers)).status_code == 200
        assert (await client.get("/metrics")).status_code == 200


async def test_a_web_page_does_not_reach_the_admin_port() -> None:
    at = build_service(Settings(), StartupPhases(lambda phase, seconds: None))
    drained: list[bool] = []
    admin = build_admin_app(
        Controls(at.tenants, at.quotas, at.desk, lambda: drained.append(True), lambda: at.gate.state, lambda: 0)
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(admin), base_url="http://test") as client:
        for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
            refused = await client.post("/admin/drain", headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        # By names that were made to lead here after their page was loaded.
        for host in ("evil.example", "evil.example:8001", "127.0.0.1.evil.example", "1.2.3.4.5", "localhost."):
            refused = await client.get("/admin/tenants", headers={"host": host})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden"), host
        for host in ("127.0.0.1:8001", "[::1]:8001", "[::1]", "localhost:8001", "localhost"):
            assert (await client.get("/admin/tenants", headers={"host": host})).status_code == 200, host
        assert drained == []
        assert (await client.post("/admin/drain")).status_code == 202
        assert drained == [True]
