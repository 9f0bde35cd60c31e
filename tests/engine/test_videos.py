"""Videos through a real daemon: they reach the model as frames, cost what their grid says, and crash nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.chat_client import Streamed, ask, body, long_body, stream
from tests.videos import BLUE, RED, encode, video_part

pytestmark = pytest.mark.engine

# The reference checkpoint's, and what its processor makes of frames of 64x64: 2x2 tokens for each pair.
VIDEO_TOKEN = 1207


def look(part: dict[str, Any], **fields: Any) -> dict[str, Any]:
    parts = [part, {"type": "text", "text": "What color is this image?"}]
    return body(parts, enable_thinking=False, temperature=0, max_tokens=8, return_token_ids=True, **fields)


def seen(answer: dict[str, Any]) -> int:
    return int(answer["prompt_token_ids"].count(VIDEO_TOKEN))


@pytest.mark.parametrize("form", ["mp4", "webm", "gif"])
async def test_a_video_costs_what_its_grid_says(client: httpx.AsyncClient, form: str) -> None:
    lengths = {}
    for frames in (4, 8, 16):
        answer = await ask(client, look(video_part(encode([RED] * frames, form))))
        assert seen(answer) == frames // 2 * (64 // 32) * (64 // 32)
        lengths[frames] = answer["usage"]["prompt_tokens"]
        assert len(answer["prompt_token_ids"]) == lengths[frames]
    assert lengths[4] < lengths[8] < lengths[16]


async def test_what_is_in_a_video_reaches_the_model(client: httpx.AsyncClient) -> None:
    said = {}
    for name, color in (("red", RED), ("blue", BLUE), ("red again", RED)):
        answer = await ask(client, look(video_part(encode([color] * 4)), logprobs=True, top_logprobs=5))
        said[name] = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        print(name, answer["choices"][0]["message"]["content"])
    likeliest = {name: {each["token"]: each["logprob"] for each in top} for name, top in said.items()}
    assert likeliest["red"] == pytest.approx(likeliest["red again"], abs=1e-3)
    assert likeliest["red"] != pytest.approx(likeliest["blue"], abs=0.05)


async def test_the_same_video_is_known_again_whatever_it_is_called(client: httpx.AsyncClient) -> None:
    async def cached(part: dict[str, Any], **fields: Any) -> int:
        # Text enough after the video that the prompt's state is kept behind both.
        parts = [part, {"type": "text", "text": "What color is this image? " * 40}]
        answer = await ask(client, body(parts, enable_thinking=False, max_tokens=1, **fields))
        return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])

    part = video_part(encode([RED, BLUE] * 3))
    assert await cached(part) == 0
    again = {**part, "video_url": {"url": part["video_url"]["url"].replace("video/mp4", "video/webm")}}
    assert await cached(again, mm_processor_kwargs={"fps": 2, "do_sample_frames": True}) > 100
    # Another sampling of the same bytes is another video, and so are other colors of the same size.
    assert await cached(part, mm_processor_kwargs={"num_frames": 4}) == 0
    assert await cached(video_part(encode([BLUE, RED] * 3))) == 0


@pytest.mark.parametrize(
    ("part_fields", "fields", "frames"),
    [
        ({}, {}, 8),  # 4 seconds
        ({}, {"mm_processor_kwargs": {"fps": 1}}, 4),
        ({"fps": 4}, {"mm_processor_kwargs": {"fps": 1}}, 16),
        ({}, {"mm_processor_kwargs": {"num_frames": 6}}, 6),
    ],
)
async def test_sampling_can_be_asked_for(
    client: httpx.AsyncClient, part_fields: dict[str, Any], fields: dict[str, Any], frames: int
) -> None:
    answer = await ask(client, look(video_part(encode([RED] * 40, fps=10), **part_fields), **fields))
    assert seen(answer) == frames // 2 * 4


async def test_a_video_may_come_from_a_tool(client: httpx.AsyncClient) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "camera", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "What do you see?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": [video_part(encode([BLUE] * 4))]},
    ]
    assert seen(await ask(client, {**look({}), "messages": messages})) == 8


BROKEN = encode([RED] * 8)[:400]


@pytest.mark.parametrize(
    ("request_body", "code", "param"),
    [
        (look(video_part(b"hello")), "invalid_video", "messages[0].content[0].video_url.url"),
        (look(video_part(BROKEN)), "invalid_video", "messages[0].content[0].video_url.url"),
        (
            look(video_part(b"\0\0\0\x18ftypmp42" + bytes(5000))),
            "invalid_video",
            "messages[0].content[0].video_url.url",
        ),
        (look(video_part(b"", uuid="mine")), "invalid_value", "messages[0].content[0].uuid"),
        (
            body([video_part(encode([RED] * 4))] * 2),
            "too_many_videos",
            "messages",
        ),
        (
            body([{"type": "video_url", "video_url": {"url": "http://127.0.0.1/a.mp4"}}]),
            "invalid_video",
            "messages[0].content[0].video_url.url",
        ),
        (
            {**body(), "messages": [{"role": "system", "content": [video_part(b"")]}, *body()["messages"]]},
            "invalid_value",
            "messages[0].content[0]",
        ),
        (look(video_part(b""), mm_processor_kwargs={"fps": 0}), "invalid_value", "mm_processor_kwargs.fps"),
        (look(video_part(b""), mm_processor_kwargs={"size": {}}), "invalid_value", "mm_processor_kwargs.size"),
        (
            look(video_part(b""), mm_processor_kwargs={"num_frames": 10**6}),
            "invalid_value",
            "mm_processor_kwargs.num_frames",
        ),
    ],
)
async def test_refusals_beside_a_running_stream(
    client: httpx.AsyncClient, request_body: dict[str, Any], code: str, param: str
) -> None:
    beside = Streamed()
    running = asyncio.create_task(stream(client, long_body(60), beside))
    while not beside.chunks:
        await asyncio.sleep(0.005)
    answer = await client.post("/v1/chat/completions", json=request_body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param), error["message"]
    await running
    assert (beside.done, beside.finish_reason, beside.error) == (True, "length", None)
    print(f"slowest gap of the stream beside it: {beside.slowest_gap * 1000:.0f} ms")
