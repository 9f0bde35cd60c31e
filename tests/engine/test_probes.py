from __future__ import annotations

import httpx
import pytest

from tests.chat_client import ask, body, metric
from tests.daemon_process import MODEL

pytestmark = pytest.mark.engine


async def test_the_model_list_tells_name_and_context(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    (card,) = listed["data"]
    assert (card["id"], card["object"], card["max_model_len"]) == (MODEL, "model", 32768)
    assert (await client.get(f"/v1/models/{MODEL}")).json() == card
    missing = await client.get("/v1/models/some/other")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/health/live"])
async def test_probes_say_that_it_serves(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert (response.status_code, response.json()["status"]) == (200, "serving")


async def test_metrics_hold_ours_and_vllms(client: httpx.AsyncClient) -> None:
    await ask(client, body(max_tokens=2))
    before = await metric(client, "qwend_requests_total")
    await ask(client, body(max_tokens=2))
    assert await metric(client, "qwend_requests_total") == before + 1
    assert await metric(client, "qwend_requests_in_flight") == 0
    assert await metric(client, "vllm:generation_tokens_total") > 0


async def test_unknown_paths_and_methods_answer_in_the_envelope(client: httpx.AsyncClient) -> None:
    for response, status in (
        (await client.get("/v1/nothing"), 404),
        (await client.get("/v1/chat/completions"), 405),
        (await client.delete("/v1/models"), 405),
    ):
        assert response.status_code == status
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
