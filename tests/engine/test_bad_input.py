"""What cannot be served is refused with its true status and the parameter's name, and disturbs nobody."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.chat_client import Streamed, ask, body, long_body, stream

pytestmark = pytest.mark.engine

USER = {"role": "user", "content": "hello"}


def image(url: str) -> dict[str, Any]:
    return body([{"type": "image_url", "image_url": {"url": url}}])


def tools(*functions: dict[str, Any]) -> dict[str, Any]:
    return body(tools=[{"type": "function", "function": function} for function in functions])


# name -> (body, status, code, param)
CASES: dict[str, tuple[Any, int, str, str | None]] = {
    "not json": (b"hello", 400, "invalid_json", None),
    "cut json": (b'{"model": "', 400, "invalid_json", None),
    "not utf-8": (b'{"model": "\xff\xfe"}', 400, "invalid_json", None),
    "empty": (b"", 400, "invalid_json", None),
    "a list": (b"[]", 400, "invalid_type", None),
    "deep json": (b"[" * 100_000, 400, "invalid_json", None),
    "no model": ({"messages": [USER]}, 400, "missing_required_parameter", "model"),
    "unknown model": ({**body(), "model": "gpt-x"}, 404, "model_not_found", "model"),
    "no messages": ({"model": "x"}, 400, "missing_required_parameter", "messages"),
    "empty messages": ({**body(), "messages": []}, 400, "invalid_value", "messages"),
    "messages of the wrong type": ({**body(), "messages": "hello"}, 400, "invalid_value", "messages"),
    "unknown role": ({**body(), "messages": [{**USER, "role": "wizard"}]}, 400, "invalid_value", "messages[0].role"),
    "content of the wrong type": (body(5), 400, "invalid_value", "messages[0].content"),
    "unknown part": (body([{"type": "song"}]), 400, "invalid_value", "messages[0].content[0].type"),
    "no user message": (
        {**body(), "messages": [{"role": "assistant", "content": "x"}]},
        400,
        "invalid_value",
        "messages",
    ),
    "too many messages": ({**body(), "messages": [USER] * 3000}, 400, "too_many", "messages"),
    "negative max_tokens": (body(max_tokens=-1), 400, "invalid_value", "max_tokens"),
    "max_tokens as text": (body(max_tokens="5"), 400, "invalid_value", "max_tokens"),
    "max_tokens over the context": (body(max_tokens=40_000), 400, "context_length_exceeded", "max_tokens"),
    "temperature out of range": (body(temperature=9), 400, "invalid_value", "temperature"),
    "temperature not a number": (
        b'{"model": "qwen3.5-reference", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
        400,
        "invalid_value",
        "temperature",
    ),
    "stream as text": (body(stream="yes"), 400, "invalid_value", "stream"),
    "prompt over the context": (body("word " * 60_000), 400, "context_length_exceeded", "messages"),
    "no image": (image("data:image/png;base64,aGVsbG8="), 400, "invalid_image", "messages[0].content[0].image_url.url"),
    "broken base64": (image("data:image/png;base64,%%"), 400, "invalid_image", "messages[0].content[0].image_url.url"),
    "image by http": (image("http://127.0.0.1/x.png"), 400, "invalid_image", "messages[0].content[0].image_url.url"),
    "image with a cache key": (
        body([{"type": "image_url", "image_url": {"url": "data:,"}, "uuid": "x"}]),
        400,
        "invalid_value",
        "messages[0].content[0].uuid",
    ),
    "image object": (
        body([{"type": "image_pil", "image_pil": "x"}]),
        400,
        "invalid_value",
        "messages[0].content[0].type",
    ),
    "embeddings": (
        body([{"type": "image_embeds", "image_embeds": "x"}]),
        400,
        "invalid_value",
        "messages[0].content[0].type",
    ),
    "video": (
        body([{"type": "text", "text": "x"}, {"type": "video_url", "video_url": {"url": "data:,"}}]),
        400,
        "invalid_video",
        "messages[0].content[1].video_url.url",
    ),
    "tool without name": (tools({}), 400, "missing_required_parameter", "tools[0].function.name"),
    "tool with a bad name": (tools({"name": "a b"}), 400, "invalid_value", "tools[0].function.name"),
    "no answer": (body(n=0), 400, "invalid_value", "n"),
    "too many answers": (body(n=1000), 400, "invalid_value", "n"),
    "foreign template": (
        body(chat_template_kwargs={"chat_template": "x"}),
        400,
        "invalid_value",
        "chat_template_kwargs.chat_template",
    ),
}


def encoded(request: Any) -> bytes:
    return request if isinstance(request, bytes) else json.dumps(request).encode()


@pytest.fixture(scope="module")
def gaps() -> list[float]:
    return []


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("streamed", [False, True])
async def test_refusals_beside_a_running_stream(
    client: httpx.AsyncClient, name: str, streamed: bool, gaps: list[float]
) -> None:
    request, status, code, param = CASES[name]
    if streamed and not isinstance(request, bytes) and "stream" not in request:
        request = {**request, "stream": True}
    beside = Streamed()
    running = asyncio.create_task(stream(client, long_body(60), beside))
    while not beside.chunks:
        await asyncio.sleep(0.005)
    response = await client.post("/v1/chat/completions", content=encoded(request))
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param), error["message"]
    assert response.headers["content-type"] == "application/json"
    assert error["type"] == "invalid_request_error"
    await running
    assert (beside.done, beside.finish_reason, beside.error) == (True, "length", None)
    gaps.append(beside.slowest_gap)
    print(f"slowest gap of the stream beside it: {max(gaps) * 1000:.0f} ms so far")


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient, declared: bool) -> None:
    chunk = b" " * 2**20

    async def undeclared() -> Any:
        for _ in range(40):
            yield chunk

    content = chunk * 40 if declared else undeclared()
    response = await client.post("/v1/chat/completions", content=content)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


async def test_it_still_serves_after_all_that(client: httpx.AsyncClient) -> None:
    answer = await ask(client, body("My name is Gopira. Say hello.", enable_thinking=False))
    assert "Gopira" in answer["choices"][0]["message"]["content"]
