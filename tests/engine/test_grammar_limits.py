"""The nastiest schemas that our limits let through: each gets a clear answer, and the stream beside it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import httpx
import pytest

from tests.chat_client import Streamed, ask, body, long_body, stream

pytestmark = pytest.mark.engine

# The daemon's loop and the engine share two cores with the compilation here. On the loop or in the engine the hardest
# of these would stall the stream for the 5 s after which compiling ends, and without that end for a minute.
MOST_GAP = 2.5


def many(count: int, each: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{number}": each for number in range(count)}, **more}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema, "b": {"type": "integer"}}, "required": ["a"]}
    return schema


def nested_arrays() -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "maxLength": 3000}
    for _ in range(3):
        schema = {"type": "array", "items": schema, "maxItems": 3000}
    return schema


PATTERN = {"type": "string", "pattern": "^([a-z]{1,1000}|[0-9]{1,900}){1,300}$"}

SCHEMAS = {
    "patterns": many(800, PATTERN),  # 70 s where nothing ends it
    "counted properties": many(1500, {"type": "string"}, minProperties=700, maxProperties=1000),
    "a few patterns": many(20, PATTERN),
    "ranges": many(800, {"type": "integer", "minimum": -123456789012345, "maximum": 987654321098765}),
    "deep": deep(12),
    "too deep": deep(60),
    "enum": {"enum": [f"value{number}" for number in range(8000)]},
    "properties": many(3000, {"type": "string"}),
    "items": nested_arrays(),
}
OTHERS = {
    "regex repetition": {"structured_outputs": {"regex": "[a-z]{1,10000}"}},
    "regex nest": {"structured_outputs": {"regex": "((a{1,100}b?){1,100}c?){1,100}"}},
    "choices": {"structured_outputs": {"choice": [f"{number} " * 20 for number in range(1000)]}},
    "grammar": {"structured_outputs": {"grammar": "root ::= " + " ".join('("a" | "b")?' for _ in range(4000))}},
    "tools": {
        "tools": [
            {"type": "function", "function": {"name": f"f{number}", "strict": True, "parameters": many(8, PATTERN)}}
            for number in range(40)
        ],
        "tool_choice": "required",
    },
}


def nasty() -> dict[str, dict[str, Any]]:
    schemas = {name: {"structured_outputs": {"json": schema}} for name, schema in SCHEMAS.items()}
    return {**schemas, **OTHERS}


@contextlib.asynccontextmanager
async def beside(client: httpx.AsyncClient) -> Any:
    seen = Streamed()
    running = asyncio.create_task(stream(client, long_body(20_000), seen))
    while not seen.chunks:
        await asyncio.sleep(0.005)
    yield seen
    assert not running.done(), seen.error
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.parametrize("name", nasty())
async def test_a_stream_goes_on_beside(client: httpx.AsyncClient, name: str) -> None:
    request = body("hello", enable_thinking=False, max_tokens=4, **nasty()[name])
    async with beside(client) as seen:
        began = time.monotonic()
        answer = await client.post("/v1/chat/completions", json=request)
        seconds = time.monotonic() - began
        await asyncio.sleep(0.2)
    print(
        f"\n{name}: {answer.status_code} in {seconds:.2f} s, slowest gap {seen.slowest_gap * 1000:.0f} ms",
        answer.text[:150] if answer.status_code != 200 else "",
    )
    if answer.status_code != 200:
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert error["param"] == (
            "tools" if name == "tools" else f"structured_outputs.{next(iter(request['structured_outputs']))}"
        )
    # The limit, once here and once in the engine, and the busy machine.
    assert seconds < 20
    assert seen.slowest_gap < MOST_GAP


async def test_what_takes_too_long_is_refused_and_the_next_is_served(client: httpx.AsyncClient) -> None:
    wanted = body("hello", structured_outputs={"json": SCHEMAS["patterns"]})
    answer = await client.post("/v1/chat/completions", json=wanted)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "too_complex", "structured_outputs.json")
    choice = body("hello", structured_outputs={"choice": ["yes", "no"]}, enable_thinking=False)
    assert (await ask(client, choice))["choices"][0]["message"]["content"] in ("yes", "no")


async def test_more_than_can_be_compiled_are_told_to_come_again(client: httpx.AsyncClient) -> None:
    schemas = [many(700 + number, PATTERN) for number in range(4)]
    requests = [body("hello", structured_outputs={"json": schema}) for schema in schemas]
    began = time.monotonic()
    answers = await asyncio.gather(*(client.post("/v1/chat/completions", json=each) for each in requests))
    assert time.monotonic() - began < 30
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 400
    assert statuses[-1] == 503
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)
