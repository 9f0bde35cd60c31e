"""What a request gets that does not say: from the server's settings, and from its tenant."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests import messages_client
from tests.chat_client import ask, body, stream
from tests.daemon_process import MODEL, DaemonProcess
from tests.message_events import added_up, events

pytestmark = pytest.mark.engine

THINKER, HASTY = (f"sk-{name}-0123456789abcdef" for name in ("thinker", "hasty"))
TENANTS = f"""
tenants:
  - {{name: thinker, keys: [{THINKER}], thinking: true}}
  - {{name: hasty, keys: [{HASTY}], effort: minimal}}
anonymous: {{max_class: interactive}}
"""
BUDGETS = {"none": 0, "minimal": 2, "low": 5, "high": None}
SUM = "What is 17 + 25?"
COUNT = "Count from 1 to 10."
REPEATED = {"repetition_penalty": 1.0}
ONCE = {"repetition_penalty": 5.0}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon whose settings are unlike the profile's in all of this."""
    tenants = tmp_path_factory.mktemp("defaults") / "tenants.yaml"
    tenants.write_text(TENANTS)
    running = DaemonProcess(
        *("--tenants", str(tenants)),
        environment={
            "QWEND_MODEL__ALIASES": '["gpt-4o", "claude-*"]',
            "QWEND_GENERATION__THINKING": "false",
            "QWEND_GENERATION__EFFORT_BUDGETS": json.dumps(BUDGETS),
            "QWEND_GENERATION__SAMPLING_DIRECT": json.dumps({"temperature": 0, **ONCE}),
            "QWEND_GENERATION__SAMPLING_THINKING": json.dumps({"temperature": 0, **REPEATED}),
            "QWEND_SERVER__STRICT_PARAMETERS": "true",
            "QWEND_SERVER__KEEP_ALIVE_SECONDS": "0.05",
        },
    )
    try:
        yield running.wait_ready()
    finally:
        running.stop()


@pytest.fixture
async def client(other: DaemonProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=other.url, timeout=60) as client:
        yield client


async def test_the_first_who_asks_for_log_probabilities_waits_for_no_compiler(client: httpx.AsyncClient) -> None:
    """First, since a daemon is new only once; it took 12 s, and every stream stood still."""
    began = time.monotonic()
    await ask(client, body(max_tokens=2, logprobs=True, top_logprobs=2, temperature=1.0, top_p=0.9, top_k=5))
    assert time.monotonic() - began < 5


async def thought(client: httpx.AsyncClient, **fields: Any) -> int:
    """Tokens of thinking; /tokenize tells the same prompt as is answered."""
    key = fields.pop("key", None)
    if key is not None:
        client.headers["authorization"] = f"Bearer {key}"
    request = body(SUM, **fields)
    answer = await ask(client, {**request, "return_token_ids": True})
    told = (await client.post("/tokenize", json=request)).json()
    assert told["tokens"] == answer["prompt_token_ids"]
    spent: int = answer["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert bool(answer["choices"][0]["message"]["reasoning"]) is (spent > 0)
    return spent


async def test_thinking_is_off_where_the_server_says_so_and_on_where_the_request_does(
    client: httpx.AsyncClient,
) -> None:
    assert await thought(client) == 0
    assert await thought(client, enable_thinking=True) > BUDGETS["low"] + 2
    assert await thought(client, chat_template_kwargs={"enable_thinking": True}) > BUDGETS["low"] + 2


@pytest.mark.parametrize("effort", BUDGETS)
async def test_an_effort_is_the_budget_that_the_server_gives_it(client: httpx.AsyncClient, effort: str) -> None:
    spent, budget = await thought(client, reasoning_effort=effort), BUDGETS[effort]
    if budget is None:
        assert spent > BUDGETS["low"] + 2
    else:
        assert abs(spent - budget) <= (2 if budget else 0)


@pytest.mark.parametrize(
    ("key", "fields", "low", "high"),
    [
        (THINKER, {}, 8, 1000),
        (THINKER, {"enable_thinking": False}, 0, 0),
        (THINKER, {"reasoning_effort": "none"}, 0, 0),
        (THINKER, {"reasoning_effort": "minimal"}, 1, 4),
        (HASTY, {}, 1, 4),
        (HASTY, {"enable_thinking": True}, 8, 1000),
        (HASTY, {"reasoning_effort": "high"}, 8, 1000),
        (HASTY, {"thinking_budget": 0}, 0, 0),
    ],
)
async def test_a_tenants_choice_holds_until_the_request_has_its_own(
    client: httpx.AsyncClient, key: str, fields: dict[str, Any], low: int, high: int
) -> None:
    assert low <= await thought(client, key=key, **fields) <= high


async def test_each_mode_has_its_own_sampling_which_the_request_overrides(client: httpx.AsyncClient) -> None:
    async def said(thinking: bool, **fields: Any) -> dict[str, Any]:
        request = body(COUNT, enable_thinking=thinking, max_tokens=40, **fields)
        message: dict[str, Any] = (await ask(client, request))["choices"][0]["message"]
        return message

    for thinking, default, override in ((False, ONCE, REPEATED), (True, REPEATED, ONCE)):
        assert await said(thinking) == await said(thinking, **default)
        assert await said(thinking) != await said(thinking, **override), "the penalty shows in this answer"


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", body(max_tokens=1)),
        ("/v1/completions", {"model": MODEL, "prompt": "Hello", "max_tokens": 1}),
        ("/tokenize", {"prompt": "Hello"}),
        ("/detokenize", {"tokens": [1]}),
    ],
)
async def test_strict_refuses_what_nobody_knows(client: httpx.AsyncClient, path: str, fields: dict[str, Any]) -> None:
    assert (await client.post(path, json=fields)).status_code == 200
    refused = await client.post(path, json={**fields, "thinking_budgt": 5})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "unknown_parameter", "thinking_budgt")


async def test_strict_refuses_it_in_messages_too(client: httpx.AsyncClient) -> None:
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        request = messages_client.body(max_tokens=1)
        assert (await client.post(path, json=request)).status_code == 200
        refused = await client.post(path, json={**request, "thinking_budgt": 5})
        told = {"error_code": "unknown_parameter", "param": "thinking_budgt"}
        assert (refused.status_code, refused.json()["error"]["details"]) == (400, told)


async def test_an_alias_is_answered_under_its_name(client: httpx.AsyncClient) -> None:
    assert (await ask(client, {**body(max_tokens=1), "model": "gpt-4o"}))["model"] == "gpt-4o"
    assert (await client.get("/v1/models/gpt-4o")).json()["root"] == MODEL


async def test_agents_send_names_of_models_that_they_know(client: httpx.AsyncClient) -> None:
    for name in ("claude-opus-4-5-20251101", "claude-haiku-4-5"):
        message = await messages_client.ask(client, {**messages_client.body(max_tokens=1), "model": name})
        assert message["model"] == name
    refused = await client.post("/v1/messages", json={**messages_client.body(), "model": "gpt-x"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (404, "not_found_error")


async def test_messages_follow_the_settings_where_they_say_nothing_of_thinking(client: httpx.AsyncClient) -> None:
    for fields, thinks in (({}, False), ({"thinking": {"type": "adaptive"}}, True)):
        request = messages_client.body(SUM, **fields)
        message = await messages_client.ask(client, request)
        assert bool(messages_client.texts(message, "thinking")) is thinks
        assert messages_client.input_tokens(message["usage"]) == await messages_client.count(client, request)
    thinker = {"x-api-key": THINKER}
    response = await client.post("/v1/messages", json=messages_client.body(SUM), headers=thinker)
    assert response.json()["content"][0]["type"] == "thinking"
    counted = await client.post("/v1/messages/count_tokens", json=messages_client.body(SUM), headers=thinker)
    assert messages_client.input_tokens(response.json()["usage"]) == counted.json()["input_tokens"]


@pytest.mark.parametrize(("tier", "told"), [("priority", "priority"), ("flex", "flex"), ("auto", "default")])
async def test_the_tier_of_an_answer_is_told(client: httpx.AsyncClient, tier: str, told: str) -> None:
    request = body(max_tokens=2, service_tier=tier)
    assert (await ask(client, request))["service_tier"] == told
    assert {chunk["service_tier"] for chunk in (await stream(client, request)).chunks} == {told}


async def test_a_stream_that_waits_for_its_first_token_is_kept_alive(client: httpx.AsyncClient) -> None:
    """So many tokens take the engine longer than the twentieth of a second after which comments come."""
    request = body("word " * 9_000, max_tokens=2, stream=True)
    async with client.stream("POST", "/v1/chat/completions", json=request) as response:
        assert response.status_code == 200
        lines = [line async for line in response.aiter_lines() if line]
    first, second = [place for place, line in enumerate(lines) if line.startswith("data: {")][:2]
    between = lines[first + 1 : second]
    assert between
    assert set(between) == {": keep-alive"}
    assert lines[-1] == "data: [DONE]"


async def test_a_stream_of_messages_is_kept_alive_by_pings(client: httpx.AsyncClient) -> None:
    request = messages_client.body("unlike " * 6_000, max_tokens=2, stream=True)
    found = events((await client.post("/v1/messages", json=request)).content)
    kinds = [event["type"] for event in found]
    # One comes with the beginning itself.
    assert kinds.count("ping") > 2
    assert added_up(found)["stop_reason"] == "max_tokens"
