"""Clients that never stop asking, and a record of what became of each request."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.chat_client import body, long_body


@dataclass
class Seen:
    """One request as its client saw it; times are monotonic."""

    tokens: int | None
    began: float
    served_by: str = ""
    status: int = 0
    head: float | None = None
    ended: float = 0.0
    done: bool = False
    finish_reason: str | None = None
    completion_tokens: int | None = None
    content: str = ""
    # An error event, the body of a refusal, or how the connection broke.
    failed: str = ""

    @property
    def whole(self) -> bool:
        """Whether the answer is all there: its end, its reason, and as many tokens as were asked for."""
        if self.status != 200 or self.failed or not self.done:
            return False
        if self.tokens is None:
            return self.finish_reason == "stop" and "42" in self.content
        return self.finish_reason == "length" and self.completion_tokens == self.tokens


@dataclass
class Clients:
    """`count` clients at a time against `url`; half of them keep their connection, the others take new ones.

    Each asks again when it has its answer: for an exact number of tokens, or, every fifth time, a question that the
    model ends by itself.
    """

    url: str
    count: int = 10
    most_tokens: int = 80
    headers: dict[str, str] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    running: set[int] = field(default_factory=set)
    _stopping: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Clients:
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(self.count)]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _client(self, number: int) -> None:
        chance = random.Random(number)
        limits = httpx.Limits() if number % 2 else httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=self.url, timeout=120, limits=limits, headers=self.headers) as client:
            while not self._stopping:
                if chance.random() < 0.2:
                    tokens, request = None, body("What is 17 + 25?", enable_thinking=False)
                else:
                    tokens = chance.randint(10, self.most_tokens)
                    request = long_body(tokens)
                seen = Seen(tokens, time.monotonic())
                self.seen.append(seen)
                try:
                    await read(client, request, seen)
                except httpx.TransportError as error:
                    seen.failed = f"{type(error).__name__}: {error}"
                seen.ended = time.monotonic()
                if not seen.whole:
                    # What fails at once must not become a flood.
                    await asyncio.sleep(0.2)


async def read(client: httpx.AsyncClient, request: dict[str, Any], seen: Seen) -> None:
    """Reads one stream to its end."""
    sent = {**request, "stream": True, "stream_options": {"include_usage": True}}
    async with client.stream("POST", "/v1/chat/completions", json=sent) as response:
        seen.status, seen.head = response.status_code, time.monotonic()
        seen.served_by = response.headers.get("x-served-by", "")
        if response.status_code != 200:
            seen.failed = (await response.aread()).decode(errors="replace")
            return
        async for line in response.aiter_lines():
            if not line.startswith("data: "):
                continue
            data = line.removeprefix("data: ")
            assert not seen.done, "nothing follows [DONE]"
            if data == "[DONE]":
                seen.done = True
                continue
            event = json.loads(data)
            if "error" in event:
                seen.failed = data
                continue
            if event.get("usage"):
                seen.completion_tokens = event["usage"]["completion_tokens"]
            for choice in event["choices"]:
                seen.content += choice["delta"].get("content") or ""
                seen.finish_reason = choice["finish_reason"] or seen.finish_reason
