"""Images fetched from an http address, in the sizes that `detail` asks for, through a daemon that may fetch."""

from __future__ import annotations

import base64
import http.server
import io
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.chat_client import ask, body, image_part
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


@pytest.mark.parametrize("kind", ["image_url", "video_url"])
@pytest.mark.parametrize(
    "host",
    [
        # This machine, in the ways to write it.
        *("localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0"),
        *("[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"),
        # Private networks, link-local addresses and the metadata services of clouds.
        *("10.0.0.1", "172.16.0.1", "192.168.0.1", "[fd00::1]", "[::ffff:10.0.0.1]", "167772161", "012.0.0.1"),
        *("169.254.169.254", "2852039166", "[fe80::1]", "[fd00:ec2::254]", "100.64.0.1", "224.0.0.1"),
    ],
)
async def test_a_daemon_that_fetches_reaches_nothing_that_is_not_public(
    fetching: DaemonProcess, inside: tuple[str, list[str]], host: str, kind: str
) -> None:
    port, asked = inside[0].rpartition(":")[2], inside[1]
    parts = [{"type": "text", "text": "look"}, {"type": kind, kind: {"url": f"http://{host}:{port}/x"}}]
    async with httpx.AsyncClient(base_url=fetching.url, timeout=60) as client:
        answer = await client.post("/v1/chat/completions", json=body(parts))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (f"invalid_{kind}", f"messages[0].content[1].{kind}.url")
    # httpx takes no number with a leading nought, so the octal ways to write an address are no address.
    octal = host in ("0177.0.0.1", "012.0.0.1")
    assert ("not at a valid address" if octal else "does not fetch from") in error["message"]
    assert asked == []


@pytest.mark.parametrize(
    "address", ["http://example.com:22/x.png", "https://u:p@example.com/", "http://[fe80::1%25lo]/"]
)
async def test_other_ports_and_forms_are_refused(fetching: DaemonProcess, address: str) -> None:
    async with httpx.AsyncClient(base_url=fetching.url, timeout=60) as client:
        parts = [{"type": "image_url", "image_url": {"url": address}}]
        answer = await client.post("/v1/chat/completions", json=body(parts))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image_url")


async def test_pixels_can_be_asked_for_within_what_the_server_allows(fetching: DaemonProcess) -> None:
    image = image_part((30, 60, 220), (128, 128))

    async def tokens(part: dict[str, Any], **kwargs: int) -> int:
        request = body([part], return_token_ids=True, max_tokens=1, mm_processor_kwargs=kwargs)
        async with httpx.AsyncClient(base_url=fetching.url, timeout=60) as client:
            return int((await ask(client, request))["prompt_token_ids"].count(1206))

    low = {"type": "image_url", "image_url": {**image["image_url"], "detail": "low"}}
    assert await tokens(image) == 16  # 4x4 of 32x32 pixels
    assert await tokens(image, max_pixels=4096) == 4
    assert await tokens(image, min_pixels=192 * 192) == 36
    assert await tokens({**image, "max_pixels": 4096}, max_pixels=10**9, min_pixels=5000) == 4
    # `low` is 4096 pixels in this server, whatever is asked for.
    assert await tokens(low, min_pixels=192 * 192) == 4


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
