"""What tests ask a daemon, and how they read its streams: plain HTTP, so that nothing of a client hides a defect."""

from __future__ import annotations

import base64
import io
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
from PIL import Image

from tests.daemon_process import MODEL

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def body(content: Any = "Hello!", **fields: Any) -> dict[str, Any]:
    """A chat request with one user message."""
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **fields}


def long_body(tokens: int, **fields: Any) -> dict[str, Any]:
    """A request that runs for exactly `tokens` tokens."""
    return body("Hello!", max_tokens=tokens, ignore_eos=True, **fields)


def image_part(color: tuple[int, int, int], size: tuple[int, int] = (96, 96)) -> dict[str, Any]:
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "PNG")
    encoded = base64.b64encode(out.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}


@dataclass
class Streamed:
    """A stream as it was read: chunks, the error event if there was one, and when each frame came."""

    status: int = 0
    chunks: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    done: bool = False
    times: list[float] = field(default_factory=list)

    def _joined(self, name: str) -> str:
        return "".join(choice["delta"].get(name) or "" for chunk in self.chunks for choice in chunk["choices"])

    @property
    def content(self) -> str:
        return self._joined("content")

    @property
    def reasoning(self) -> str:
        return self._joined("reasoning")

    @property
    def finish_reason(self) -> str | None:
        reasons = [choice["finish_reason"] for chunk in self.chunks for choice in chunk["choices"]]
        return next((reason for reason in reasons if reason), None)

    @property
    def slowest_gap(self) -> float:
        """Longest time between two frames, in seconds."""
        return max((later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)), default=0.0)

    def tool_calls(self) -> list[tuple[str, str]]:
        calls: dict[int, list[str]] = {}
        for chunk in self.chunks:
            for choice in chunk["choices"]:
                for call in choice["delta"].get("tool_calls") or []:
                    seen = calls.setdefault(call["index"], ["", ""])
                    seen[0] += call["function"].get("name", "")
                    seen[1] += call["function"].get("arguments", "")
        return [(name, arguments) for name, arguments in calls.values()]


async def ask(client: httpx.AsyncClient, request: dict[str, Any]) -> dict[str, Any]:
    """The whole answer's JSON; the status must be 200."""
    response = await client.post("/v1/chat/completions", json=request)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def stream(
    client: httpx.AsyncClient,
    request: dict[str, Any],
    into: Streamed | None = None,
    headers: dict[str, str] | None = None,
) -> Streamed:
    """Reads a stream to its end; `into` can be watched meanwhile."""
    seen = into if into is not None else Streamed()
    sent = {**request, "stream": True}
    async with client.stream("POST", "/v1/chat/completions", json=sent, headers=headers) as response:
        seen.status = response.status_code
        if response.status_code != 200:
            seen.error = json.loads(await response.aread())["error"]
            return seen
        async for line in response.aiter_lines():
            if not line.startswith("data: "):
                continue
            seen.times.append(time.monotonic())
            data = line.removeprefix("data: ")
            assert seen.error is None, f"an error ends a stream, but this follows: {data}"
            if data == "[DONE]":
                seen.done = True
            elif "error" in (event := json.loads(data)):
                seen.error = event["error"]
            else:
                seen.chunks.append(event)
    return seen


async def metric(client: httpx.AsyncClient, name: str) -> float:
    """The sum of a metric over its labels."""
    text = (await client.get("/metrics")).text
    values = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
    assert values, f"there is no metric {name}"
    return sum(map(float, values))
