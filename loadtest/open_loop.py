"""Requests sent at the times that a plan says, whatever the server does: an open loop.

Times count from the intended moment, so that a server which holds the sender up is not excused from what it delayed
(coordinated omission). How late the sender itself was is told with each result.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Shot:
    """One request: when it is to be sent (seconds from the start), its body and headers, and a label for the report."""

    at: float
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    retries: int = 0


@dataclass
class Result:
    """What became of a shot. Times are seconds from its intended moment; `ttft` is None where no token came.

    `chunks` are the times of its events but the last; the first only says who speaks.
    """

    shot: Shot
    lag: float = 0.0
    status: int = 0
    code: str = ""
    ttft: float | None = None
    total: float = 0.0
    chunks: list[float] = field(default_factory=list)
    finished: bool = False
    retry_after: float | None = None
    statuses: list[int] = field(default_factory=list)

    def met(self, objective: float) -> bool:
        """Whether the whole answer came, and its first token in time."""
        return self.finished and self.ttft is not None and self.ttft <= objective


async def fire(base_url: str, shots: Iterable[Shot], *, timeout: float = 120.0) -> list[Result]:
    """Sends all shots at their times; returns when the last one has its answer."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        base_url, connector=connector, timeout=aiohttp.ClientTimeout(total=timeout)
    ) as session:
        start = time.perf_counter() + 0.2
        return list(await asyncio.gather(*(_one(session, shot, start) for shot in shots)))


async def _one(session: aiohttp.ClientSession, shot: Shot, start: float) -> Result:
    result, intended = Result(shot), start + shot.at
    await asyncio.sleep(max(0.0, intended - time.perf_counter()))
    result.lag = time.perf_counter() - intended
    while True:
        try:
            await _send(session, shot, intended, result)
        except (aiohttp.ClientError, TimeoutError) as error:
            result.code = type(error).__name__
        result.total = time.perf_counter() - intended
        result.statuses.append(result.status)
        if len(result.statuses) > shot.retries or result.retry_after is None or result.finished:
            return result
        await asyncio.sleep(result.retry_after)


async def _send(session: aiohttp.ClientSession, shot: Shot, intended: float, result: Result) -> None:
    result.retry_after = None
    async with session.post(CHAT, json=shot.body, headers=dict(shot.headers)) as response:
        result.status = response.status
        if response.status != 200:
            result.code = (await response.json())["error"]["code"]
            if "retry-after-ms" in response.headers:
                result.retry_after = float(response.headers["retry-after-ms"]) / 1000
            elif "retry-after" in response.headers:
                result.retry_after = float(response.headers["retry-after"])
            return
        result.code = ""
        async for line in response.content:
            if not line.startswith(b"data: "):
                continue
            if line.startswith(b"data: [DONE]"):
                result.finished = True
            elif b'"error"' in line[:16]:
                result.code = json.loads(line[6:])["error"]["code"]
            else:
                result.chunks.append(time.perf_counter() - intended)
                if len(result.chunks) == 2:
                    result.ttft = result.chunks[1]


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Times of arrivals at `rate` a second over so many seconds."""
    drawn, times, now = random.Random(seed), [], 0.0
    while (now := now + drawn.expovariate(rate)) < seconds:
        times.append(now)
    return times


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which `part` of all values lie; nan of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")
