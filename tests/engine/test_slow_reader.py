"""A client that stops reading: it is cut off after a while, its sequence is freed, and nobody else notices."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.chat_client import body
from tests.daemon_process import DaemonProcess

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def impatient() -> Iterator[DaemonProcess]:
    running = DaemonProcess(environment={"QWEND_STREAMING__UNREAD_SECONDS": "2"})
    try:
        yield running.wait_ready()
    finally:
        running.stop()


def value(daemon: DaemonProcess, metric: str) -> float:
    lines = httpx.get(f"{daemon.url}/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{metric} ", f"{metric}{{")))


def read_all(client: socket.socket) -> bytes:
    got = b""
    while more := client.recv(65536):
        got += more
    return got


def test_a_client_that_stops_reading_is_cut_off_and_others_go_on(impatient: DaemonProcess) -> None:
    # Log probabilities make a frame of some 3 kB, so that the buffers are full soon.
    asked = body("Hello!", max_tokens=20_000, ignore_eos=True, stream=True, logprobs=True, top_logprobs=20)
    content = json.dumps(asked).encode()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", impatient.port))
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        client.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        assert client.recv(12) == b"HTTP/1.1 200"
        deadline = time.monotonic() + 60
        while not value(impatient, "qwend_streams_cut_off_total"):
            assert time.monotonic() < deadline, "nobody was cut off"
            beside = httpx.post(f"{impatient.url}/v1/chat/completions", json=body("Hello!", max_tokens=8), timeout=30)
            assert beside.status_code == 200
        while value(impatient, "vllm:num_requests_running") or value(impatient, "qwend_requests_in_flight"):
            assert time.monotonic() < deadline, "its sequence still runs"
            time.sleep(0.1)
        with pytest.raises(ConnectionResetError):
            read_all(client)
