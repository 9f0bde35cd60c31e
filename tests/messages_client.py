"""What tests ask the messages route, over plain HTTP, beside `chat_client` for the chat route."""

from __future__ import annotations

from typing import Any

import httpx

from tests.chat_client import image_part
from tests.daemon_process import MODEL
from tests.message_events import added_up, events

WEATHER = {
    "name": "get_weather",
    "description": "Get the weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def body(content: Any = "Hello!", **fields: Any) -> dict[str, Any]:
    """A request with one user message."""
    return {"model": MODEL, "max_tokens": 400, "messages": [{"role": "user", "content": content}], **fields}


def image_block(color: tuple[int, int, int], size: tuple[int, int] = (96, 96)) -> dict[str, Any]:
    head, _, data = image_part(color, size)["image_url"]["url"].partition(",")
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": head.removeprefix("data:").removesuffix(";base64"), "data": data},
    }


async def ask(client: httpx.AsyncClient, request: dict[str, Any]) -> dict[str, Any]:
    """The whole message; the status must be 200."""
    response = await client.post("/v1/messages", json=request)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def stream(client: httpx.AsyncClient, request: dict[str, Any]) -> dict[str, Any]:
    """The message that a stream's events add up to; they must come in order."""
    response = await client.post("/v1/messages", json={**request, "stream": True})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["request-id"].startswith("req_")
    return added_up(events(response.content))


async def count(client: httpx.AsyncClient, request: dict[str, Any]) -> int:
    """The prompt's tokens by the counting route, which is sent the whole request."""
    response = await client.post("/v1/messages/count_tokens", json=request)
    assert response.status_code == 200, response.text
    tokens: int = response.json()["input_tokens"]
    return tokens


def input_tokens(usage: dict[str, Any]) -> int:
    """All of the prompt's tokens by an answer's usage."""
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return sum(usage[name] for name in names)


def texts(message: dict[str, Any], kind: str) -> str:
    """What the blocks of a kind say, together."""
    return "".join(block[kind] for block in message["content"] if block["type"] == kind)
