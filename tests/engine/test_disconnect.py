"""A client that goes away frees its sequence in the engine at once, whatever it was waiting for."""

from __future__ import annotations

import asyncio
import json
import time

import httpx
import pytest

from tests.chat_client import long_body, metric

pytestmark = pytest.mark.engine


async def wait_for(client: httpx.AsyncClient, name: str, value: float, seconds: float) -> float:
    """Seconds until the metric had the value."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if await metric(client, name) == value:
            return time.monotonic() - began
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} is not {value} after {seconds} s but {await metric(client, name)}")


@pytest.mark.parametrize("streamed", [True, False])
async def test_leaving_frees_the_engine(client: httpx.AsyncClient, streamed: bool) -> None:
    host, port = client.base_url.host, client.base_url.port
    payload = json.dumps({**long_body(20_000), "stream": streamed}).encode()
    reader, writer = await asyncio.open_connection(host, port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(payload)}\r\n\r\n"
    writer.write(head.encode() + payload)
    await writer.drain()
    await wait_for(client, "vllm:num_requests_running", 1, 20)
    if streamed:
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()
    seconds = await wait_for(client, "vllm:num_requests_running", 0, 5)
    print(f"freed in the engine {seconds:.2f} s after the client left (streamed: {streamed})")
    await wait_for(client, "qwend_requests_in_flight", 0, 5)


async def test_leaving_while_sending_the_body_ends_the_permit(client: httpx.AsyncClient) -> None:
    _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
    await writer.drain()
    await wait_for(client, "qwend_requests_in_flight", 1, 5)
    writer.close()
    await wait_for(client, "qwend_requests_in_flight", 0, 5)
