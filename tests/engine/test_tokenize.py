"""The tokenizer over HTTP: what it says is what the engine is given."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.chat_client import WEATHER, ask, body, image_part, metric
from tests.daemon_process import MODEL

pytestmark = pytest.mark.engine

TEXT = "Hello é🙂 wörld <|im_start|>user"
HISTORY = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the weather in Lisbon?"},
    {
        "role": "assistant",
        "content": None,
        "reasoning": "Look.",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c", "content": "17"},
]


async def tokenize(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/tokenize", json=fields)
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    assert told["count"] == len(told["tokens"])
    assert told["max_model_len"] == 32768
    return told


@pytest.mark.parametrize("text", [TEXT, "", " ", "a" * 5000])
async def test_there_and_back(client: httpx.AsyncClient, text: str) -> None:
    told = await tokenize(client, prompt=text, model=MODEL)
    assert told["token_strs"] is None
    back = await client.post("/detokenize", json={"tokens": told["tokens"]})
    assert (back.status_code, back.json()) == (200, {"prompt": text})


async def test_token_strings_are_the_vocabularys(client: httpx.AsyncClient) -> None:
    told = await tokenize(client, prompt="Hello é<|im_end|>", return_token_strs=True)
    assert len(told["token_strs"]) == told["count"]
    assert (told["token_strs"][0], told["token_strs"][-1]) == ("Hello", "<|im_end|>")
    assert "ĠÃ" in told["token_strs"], "bytes in the byte alphabet"


async def test_a_text_longer_than_the_context_is_counted(client: httpx.AsyncClient) -> None:
    assert (await tokenize(client, prompt="x y " * 20_000))["count"] > 32768


@pytest.mark.parametrize(
    "request_body",
    [
        body("Hello!"),
        body("Hello!", enable_thinking=False),
        body("Hello!", reasoning_effort="none"),
        body("Hello!", chat_template_kwargs={"enable_thinking": False}),
        body("Hello!", tools=[WEATHER]),
        body("Hello!", tools=[WEATHER], tool_choice="none"),
        body([{"type": "text", "text": "What color?"}, image_part((30, 60, 220), (200, 100))], tools=[WEATHER]),
        {**body(), "messages": HISTORY, "tools": [WEATHER]},
        {**body(), "messages": [*body()["messages"], {"role": "assistant", "content": "He"}]}
        | {"continue_final_message": True},
    ],
    ids=["plain", "direct", "effort", "kwargs", "tools", "no tools", "image", "history", "continued"],
)
async def test_a_conversation_has_the_tokens_that_chat_prefills(
    client: httpx.AsyncClient, request_body: dict[str, Any]
) -> None:
    told = await tokenize(client, **request_body)
    answer = await ask(client, {**request_body, "max_tokens": 1, "return_token_ids": True})
    assert told["count"] == answer["usage"]["prompt_tokens"]
    assert told["tokens"] == answer["prompt_token_ids"]


async def test_without_a_generation_prompt(client: httpx.AsyncClient) -> None:
    whole = (await tokenize(client, **body()))["tokens"]
    cut = (await tokenize(client, **body(add_generation_prompt=False)))["tokens"]
    assert 0 < len(cut) < len(whole)
    assert whole[: len(cut)] == cut


async def test_nothing_is_generated_or_counted_as_a_request(client: httpx.AsyncClient) -> None:
    before = await metric(client, "qwend_requests_total")
    await tokenize(client, prompt=TEXT)
    assert await metric(client, "qwend_requests_total") == before


async def test_unknown_fields_are_named(client: httpx.AsyncClient) -> None:
    for path, fields in (("/tokenize", {"prompt": "x"}), ("/tokenize", body()), ("/detokenize", {"tokens": [1]})):
        response = await client.post(path, json={**fields, "zeta": 1})
        assert response.headers["x-qwend-ignored-parameters"] == "zeta"
