"""Every field of every dialect, with values that no client should send: none of them stalls or ends the engine.

The fields are read from the dialects' own models, so that a new one is tried without anybody thinking of it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from server.dialects.chat_request import ChatRequest
from server.dialects.completion_request import CompletionRequest
from server.dialects.messages_request import MessagesRequest
from tests.chat_client import ask, body
from tests.daemon_process import MODEL, DaemonProcess

pytestmark = pytest.mark.engine

# As JSON, since Python's own encoder would not write some of them.
VALUES: dict[str, str] = {
    "not a number": "NaN",
    "infinity": "-Infinity",
    "overflowing": "1e999",
    "largest double": "1.7976931348623157e308",
    "smallest double": "5e-324",
    "minus one": "-1",
    "zero": "0",
    "one": "1",
    "past 32 bits": str(2**32),
    "past 63 bits": str(2**63),
    "below 63 bits": str(-(2**63) - 1),
    "400 digits": "9" * 400,
    "true": "true",
    "null": "null",
    "empty text": '""',
    "a NUL": '"\\u0000"',
    "half a surrogate pair": '"\\ud800"',
    "long text": json.dumps("x" * 100_000),
    "empty list": "[]",
    "empty object": "{}",
    "list of null": "[null]",
    "list of a huge number": f"[{2**70}]",
    "2,000 numbers": json.dumps(list(range(2000))),
    "list of texts": '["", "a", "\\u0000"]',
    "object of numbers": json.dumps({str(number): 100 for number in range(2000)}),
    "object with odd keys": '{"": 1, "-1": 1, "1e9": 1, "\\u0000": 1}',
    "400 levels": "[" * 400 + "]" * 400,
    "400 levels of objects": '{"a":' * 400 + "1" + "}" * 400,
}

DIALECTS: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "/v1/chat/completions": (ChatRequest, body("hi", max_tokens=1)),
    "/v1/completions": (CompletionRequest, {"model": MODEL, "prompt": "hi", "max_tokens": 1}),
    "/v1/messages": (MessagesRequest, body("hi", max_tokens=1)),
}
# Asked for by their value, they may run for as long as the context is; the bound is tested in test_bad_input.py.
LONG = {"max_tokens", "max_completion_tokens"}
SECONDS = 20.0
AT_ONCE = 12
# Of all pairs, those that the quick test sends: each field gets other values, and each value other fields.
ONE_IN = 6


def requests(path: str) -> list[tuple[str, str, bytes]]:
    """Field, name of the value, and body."""
    model, good = DIALECTS[path]
    found = []
    for name, field in model.model_fields.items():
        sent = field.alias or name
        for called, value in VALUES.items():
            rest = {key: each for key, each in good.items() if key != sent}
            if sent in LONG and called in ("null", "past 32 bits", "past 63 bits", "400 digits"):
                continue
            encoded = json.dumps(rest)[:-1] + f", {json.dumps(sent)}: {value}}}"
            found.append((sent, called, encoded.encode()))
    return found


@pytest.mark.parametrize("path", DIALECTS)
async def test_no_value_of_any_field_ends_or_stalls_the_engine(
    client: httpx.AsyncClient, daemon: DaemonProcess, path: str
) -> None:
    await sent_and_survived(client, daemon, path, requests(path)[::ONE_IN])


@pytest.mark.slow
@pytest.mark.parametrize("path", DIALECTS)
async def test_nor_does_any_pair_of_them(client: httpx.AsyncClient, daemon: DaemonProcess, path: str) -> None:
    await sent_and_survived(client, daemon, path, requests(path))


async def sent_and_survived(
    client: httpx.AsyncClient, daemon: DaemonProcess, path: str, tried: list[tuple[str, str, bytes]]
) -> None:
    waiting = asyncio.Semaphore(AT_ONCE)
    statuses: Counter[int] = Counter()
    wrong: list[str] = []
    slowest = (0.0, "")

    async def send(field: str, called: str, content: bytes) -> None:
        nonlocal slowest
        async with waiting:
            for _ in range(20):
                began = time.monotonic()
                answer = await client.post(path, content=content, headers={"content-type": "application/json"})
                seconds = time.monotonic() - began
                # Forms of answers are compiled one after the other; who waits too long is told to come again.
                if answer.status_code != 503 or "retry-after" not in answer.headers:
                    break
                await asyncio.sleep(0.5)
        statuses[answer.status_code] += 1
        slowest = max(slowest, (seconds, f"{field}: {called}"))
        if not (answer.status_code == 200 or 400 <= answer.status_code < 500):
            wrong.append(f"{field}: {called}: {answer.status_code} {answer.text[:200]}")
        elif answer.status_code != 200 and ("error" not in answer.json() or len(answer.content) > 4096):
            wrong.append(f"{field}: {called}: no envelope, or what was sent comes back")

    await asyncio.gather(*(send(*each) for each in tried))
    print(f"\n{path}: {len(tried)} requests, {dict(statuses)}, slowest {slowest[0]:.1f} s for {slowest[1]}")
    assert not wrong, "\n".join(wrong)
    assert statuses[200] > len(tried) / 20, "some values are good ones"
    assert statuses[400] > len(tried) / 4
    assert slowest[0] < SECONDS
    assert daemon.process.poll() is None
    answer = await ask(client, body("My name is Gopira. Say hello.", enable_thinking=False))
    assert "Gopira" in answer["choices"][0]["message"]["content"]
    health = (await client.get("/health")).json()
    assert (health["status"], health["in_flight"], health["waiting"]) == ("serving", 0, 0)
