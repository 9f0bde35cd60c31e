"""The async client of the official `openai` package against the daemon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from tests.chat_client import WEATHER, image_part, long_body, metric
from tests.daemon_process import MODEL, DaemonProcess

pytestmark = pytest.mark.engine


@pytest.fixture
async def sdk(daemon: DaemonProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def hello(name: str) -> list[Any]:
    return [{"role": "user", "content": f"My name is {name}. Say hello."}]


async def test_answers_at_once_go_to_those_who_asked(sdk: openai.AsyncOpenAI) -> None:
    names = ["Rosa", "Ada", "Rosa", "Ada"]
    answers = await asyncio.gather(*(sdk.chat.completions.create(model=MODEL, messages=hello(name)) for name in names))
    assert [answer.choices[0].message.content for answer in answers] == [f"Hello, {name}!" for name in names]


async def test_the_streaming_helper_tells_of_the_text_as_it_comes(sdk: openai.AsyncOpenAI) -> None:
    pieces = []
    async with sdk.chat.completions.stream(model=MODEL, messages=hello("Rosa")) as stream:
        async for event in stream:
            if event.type == "content.delta":
                pieces.append(event.delta)
        final = await stream.get_final_completion()
    assert sum(map(bool, pieces)) > 1
    assert "".join(pieces) == final.choices[0].message.content == "Hello, Rosa!"


async def test_the_streaming_helper_puts_a_tool_call_together(sdk: openai.AsyncOpenAI) -> None:
    done = []
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Lisbon?"}]
    async with sdk.chat.completions.stream(model=MODEL, messages=messages, tools=[WEATHER]) as stream:
        async for event in stream:
            if event.type == "tool_calls.function.arguments.done":
                done.append((event.name, json.loads(event.arguments)))
        final = (await stream.get_final_completion()).choices[0]
    assert done == [("get_weather", {"city": "Lisbon"})]
    assert final.finish_reason == "tool_calls"
    (call,) = final.message.tool_calls or []
    assert (call.function.name, json.loads(call.function.arguments)) == done[0]


async def test_an_image(sdk: openai.AsyncOpenAI) -> None:
    content: Any = [{"type": "text", "text": "What color is this image?"}, image_part((220, 30, 30))]
    answer = await sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    assert "red" in (answer.choices[0].message.content or "").lower()


async def test_closing_a_stream_ends_the_work(sdk: openai.AsyncOpenAI, client: httpx.AsyncClient) -> None:
    request = long_body(2000)
    stream = await sdk.chat.completions.create(
        model=MODEL,
        messages=request["messages"],
        max_tokens=request["max_tokens"],
        stream=True,
        extra_body={"ignore_eos": True},
    )
    await anext(stream)
    assert await metric(client, "qwend_requests_in_flight") == 1
    await stream.close()
    for _ in range(50):
        if await metric(client, "qwend_requests_in_flight") == 0:
            return
        await asyncio.sleep(0.1)
    pytest.fail("the request still runs 5 s after its client left")


async def test_an_error_before_a_stream_has_its_status(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await sdk.chat.completions.create(model="gpt-x", messages=hello("Rosa"), stream=True)
    assert missing.value.code == "model_not_found"
