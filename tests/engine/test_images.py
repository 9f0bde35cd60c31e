"""Images fetched from an http address, in the sizes that `detail` asks for, through a daemon that may fetch."""

from __future__ import annotations

import base64
import http.server
import io
import threading
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from tests.chat_client import ask, body
from tests.daemon_process import DaemonProcess

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def inside() -> Iterator[tuple[str, list[str]]]:
    """A server on loopback, which no daemon may reach; and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"localhost:{server.server_port}", asked
        server.shutdown()


@pytest.fixture(scope="module")
def fetching(inside: tuple[str, list[str]]) -> Iterator[DaemonProcess]:
    running = DaemonProcess(
        environment={
            "QWEND_MEDIA__FETCH": "public",
            "QWEND_MEDIA__FETCH_PORTS": f"[{inside[0].rpartition(':')[2]}]",
            "QWEND_MEDIA__DETAIL__LOW": "4096",
        }
    )
    try:
        yield running.wait_ready()
    finally:
        running.stop()


async def test_a_daemon_that_fetches_does_not_reach_its_own_machine(
    fetching: DaemonProcess, inside: tuple[str, list[str]]
) -> None:
    authority, asked = inside
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": f"http://{authority}/x.png"}}]
    async with httpx.AsyncClient(base_url=fetching.url, timeout=60) as client:
        answer = await client.post("/v1/chat/completions", json=body(parts))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_image_url", "messages[0].content[1].image_url.url")
    assert asked == []


async def test_detail_sets_what_an_image_costs(fetching: DaemonProcess) -> None:
    out = io.BytesIO()
    Image.new("RGB", (256, 256), (30, 60, 220)).save(out, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
    tokens = {}
    async with httpx.AsyncClient(base_url=fetching.url, timeout=60) as client:
        # High again at the end: the engine's cache must tell the two sizes of the same bytes apart.
        for step, detail in enumerate(("high", "low", "high")):
            content = [
                {"type": "image_url", "image_url": {"url": url, "detail": detail}},
                {"type": "text", "text": "What color is this image?"},
            ]
            answer = await ask(client, body(content, enable_thinking=False))
            tokens[step] = answer["usage"]["prompt_tokens"]
            assert "blue" in answer["choices"][0]["message"]["content"].lower()
    # One token is 32x32 pixels: 8x8 of them, and 2x2.
    assert tokens[0] == tokens[2] == tokens[1] + 60
