"""What tests ask the responses route, over plain HTTP, beside `chat_client` for the chat route."""

from __future__ import annotations

from typing import Any

import httpx

from tests.chat_client import image_part
from tests.daemon_process import MODEL
from tests.response_events import added_up, events

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def body(content: Any = "Hello!", **fields: Any) -> dict[str, Any]:
    """A request; greedy, so that what two of them say can be compared."""
    return {"model": MODEL, "input": content, "temperature": 0, "max_output_tokens": 400, "store": False, **fields}


def user(*parts: Any) -> dict[str, Any]:
    """A user's message of texts and parts."""
    content = [part if isinstance(part, dict) else {"type": "input_text", "text": part} for part in parts]
    return {"role": "user", "content": content}


def image(color: tuple[int, int, int], size: tuple[int, int] = (96, 96)) -> dict[str, Any]:
    return {"type": "input_image", "detail": "auto", "image_url": image_part(color, size)["image_url"]["url"]}


async def ask(client: httpx.AsyncClient, request: dict[str, Any]) -> dict[str, Any]:
    """The whole response; the status must be 200."""
    response = await client.post("/v1/responses", json=request)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def stream(client: httpx.AsyncClient, request: dict[str, Any]) -> dict[str, Any]:
    """The response that a stream's events add up to; they must come in order."""
    response = await client.post("/v1/responses", json={**request, "stream": True})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return added_up(events(response.content))


async def get(client: httpx.AsyncClient, id: str) -> dict[str, Any]:
    """A stored response; the status must be 200."""
    response = await client.get(f"/v1/responses/{id}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def said(response: dict[str, Any]) -> str:
    """What the model says."""
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part["text"] for item in messages for part in item["content"])


def thought(response: dict[str, Any]) -> str:
    """What the model thinks, however it is shown."""
    items = [item for item in response["output"] if item["type"] == "reasoning"]
    return "".join(part["text"] for item in items for part in (*item["summary"], *item.get("content", ())))


def calls(response: dict[str, Any]) -> list[dict[str, Any]]:
    """The calls that the client is asked to make."""
    return [item for item in response["output"] if item["type"] == "function_call"]
