"""The streaming response over bare ASGI: what is sent, and that it always cleans up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from server.api import event_stream
from server.api.direct_send import DirectSend
from server.api.disconnect import ClientGone, while_connected
from server.api.event_stream import EventStream


class Client:
    """An ASGI client that leaves when `leave` is set."""

    def __init__(self) -> None:
        self.leave = asyncio.Event()
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)


def each_of(frames: AsyncGenerator[bytes, None]) -> Callable[[], Awaitable[bytes]]:
    """What gives the next frame, and nothing after the last."""
    return lambda: anext(frames, b"")


async def run(frames: AsyncGenerator[bytes, None], client: Client) -> int:
    """How often `close` was called by the end of the response."""
    closed = 0

    async def close() -> None:
        nonlocal closed
        closed += 1

    await EventStream(each_of(frames), close, {"x-extra": "1"})({"type": "http"}, client.receive, client.send)
    return closed


async def test_frames_are_sent_as_they_are() -> None:
    async def frames() -> AsyncGenerator[bytes, None]:
        yield b"one"
        yield b"two"

    client = Client()
    assert await run(frames(), client) == 1
    start, *bodies = client.sent
    headers = dict(start["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"x-extra"] == b"1"
    assert b"content-length" not in headers
    assert [body["body"] for body in bodies] == [b"one", b"two", b""]
    assert [body["more_body"] for body in bodies] == [True, True, False]


async def test_a_client_that_leaves_ends_the_work_where_it_waits() -> None:
    ended = asyncio.Event()

    async def frames() -> AsyncGenerator[bytes, None]:
        try:
            yield b"one"
            await asyncio.Event().wait()
        finally:
            ended.set()

    client = Client()
    response = asyncio.create_task(run(frames(), client))
    while len(client.sent) < 2:
        await asyncio.sleep(0)
    client.leave.set()
    assert await asyncio.wait_for(response, 1) == 1
    assert ended.is_set()


async def test_a_client_that_left_before_the_first_frame_is_cleaned_up_after() -> None:
    async def frames() -> AsyncGenerator[bytes, None]:
        await asyncio.Event().wait()
        yield b"never"

    client = Client()
    client.leave.set()
    assert await asyncio.wait_for(run(frames(), client), 1) == 1


async def test_a_client_that_leaves_while_it_does_not_read_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    waits = asyncio.Event()

    class Paused(Client):
        async def send(self, message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                waits.set()
                await asyncio.Event().wait()

    async def frames() -> AsyncGenerator[bytes, None]:
        yield b"one"
        await asyncio.Event().wait()

    client = Paused()
    response = asyncio.create_task(run(frames(), client))
    await asyncio.wait_for(waits.wait(), 1)
    client.leave.set()
    assert await asyncio.wait_for(response, 1) == 1
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_frames_go_to_the_servers_own_send_and_the_start_through_the_middleware() -> None:
    async def frames() -> AsyncGenerator[bytes, None]:
        yield b"one"

    async def close() -> None:
        pass

    inside: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def middleware(message: Any) -> None:
            inside.append(message["type"])
            await send(message)

        await EventStream(each_of(frames()), close, {})(scope, receive, middleware)

    client = Client()
    await DirectSend(app)({"type": "http"}, client.receive, client.send)
    assert [message.get("body") for message in client.sent] == [None, b"one", b""]
    assert inside == ["http.response.start", "http.response.body"]


async def test_work_that_is_done_wins_over_a_client_that_leaves() -> None:
    client = Client()
    client.leave.set()

    async def work() -> str:
        return "done"

    assert await while_connected(client.receive, work()) == "done"


async def test_a_failure_of_the_work_is_passed_on() -> None:
    async def work() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await while_connected(Client().receive, work())


async def test_leaving_cancels_the_work_and_waits_for_its_cleaning_up() -> None:
    client = Client()
    client.leave.set()
    steps: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            steps.append("cleaned up")

    with pytest.raises(ClientGone):
        await while_connected(client.receive, work())
    assert steps == ["cleaned up"]


async def test_a_quiet_stream_gets_comments_and_a_busy_one_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes here when the test says so: each item of `ticks` is the end of one span of `keep_alive`."""
    ticks: asyncio.Queue[None] = asyncio.Queue()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await ticks.get()

    async def span() -> None:
        before = len(slept)
        ticks.put_nowait(None)
        while len(slept) == before:
            await asyncio.sleep(0)

    async def frames() -> AsyncGenerator[bytes, None]:
        while not slept:
            await asyncio.sleep(0)
        for _ in range(5):
            yield b"busy"
            await span()
        for _ in range(3):
            await span()
        yield b"late"
        await span()

    async def close() -> None:
        pass

    stream = EventStream(each_of(frames()), close, {}, keep_alive=15.0)
    monkeypatch.setattr(event_stream, "asyncio", SimpleNamespace(sleep=sleep, ensure_future=asyncio.ensure_future))
    client = Client()
    await asyncio.wait_for(stream({"type": "http"}, client.receive, client.send), 30)
    assert [message["body"] for message in client.sent[1:]] == [
        *[b"busy"] * 5,
        *[b": keep-alive\n\n"] * 3,
        *(b"late", b""),
    ]
    assert set(slept) == {15.0}
