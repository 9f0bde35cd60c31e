"""What a connection may cost: the head of a request, its body, idleness, and how many there are."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from server.api.doorman import ConnectionRules, Doorman
from tests.daemon_process import DaemonProcess
from tests.front.conftest import MODEL, Front
from tests.front.raw_http import Answer, exchange, receive

HEAD_SECONDS, BODY_SECONDS, IDLE_SECONDS = 1.5, 1.0, 3
TOTAL, PER_ADDRESS = 12, 8
CHAT = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}).encode()


@pytest.fixture(scope="module")
def strict() -> Iterator[DaemonProcess]:
    """A daemon with every bound low."""
    running = DaemonProcess(
        environment={
            "QWEND_CONNECTIONS__HEAD_BYTES": "4096",
            "QWEND_CONNECTIONS__HEADERS": "20",
            "QWEND_CONNECTIONS__HEAD_SECONDS": str(HEAD_SECONDS),
            "QWEND_CONNECTIONS__BODY_SECONDS": str(BODY_SECONDS),
            "QWEND_CONNECTIONS__IDLE_SECONDS": str(IDLE_SECONDS),
            "QWEND_CONNECTIONS__PER_ADDRESS": str(PER_ADDRESS),
            "QWEND_CONNECTIONS__TOTAL": str(TOTAL),
        },
        module="tests.synthetic_cli",
    )
    try:
        yield running.wait_ready(60)
    finally:
        running.stop()


def connect(daemon: DaemonProcess, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", daemon.port), timeout=10, source_address=(source, 0))


def closed_after(connection: socket.socket) -> float:
    """Seconds until the daemon closes the connection; what it says meanwhile is read."""
    began = time.monotonic()
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - began


def told(answer: Answer) -> str:
    return str(json.loads(answer.body)["error"]["code"])


def get(daemon: DaemonProcess, headers: bytes, path: bytes = b"/health") -> Answer:
    return exchange(daemon.port, b"GET " + path + b" HTTP/1.1\r\nhost: x\r\n" + headers + b"\r\n")


def test_a_head_may_be_so_large(strict: DaemonProcess) -> None:
    assert get(strict, b"a: " + b"x" * 3900 + b"\r\n").status == 200
    for headers, path in (
        (b"a: " + b"x" * 5000 + b"\r\n", b"/health"),
        (b"a: x\r\n" * 15 + b"b: " + b"x" * 4000 + b"\r\n", b"/health"),
        (b"", b"/health?" + b"x" * 5000),
    ):
        answer = get(strict, headers, path)
        assert (answer.status, told(answer)) == (431, "head_too_large")
        assert "connection: close" in answer.head
    assert get(strict, b"".join(b"h%d: x\r\n" % number for number in range(19))).status == 200
    many = get(strict, b"".join(b"h%d: x\r\n" % number for number in range(20)))
    assert (many.status, told(many)) == (431, "head_too_large")


def test_a_head_without_an_end_is_ended(strict: DaemonProcess) -> None:
    """Nothing of it is ever a whole header, so that only the bytes can be counted."""
    with connect(strict) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nlong: ")
        sent = 0
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while sent < 2**22:
                connection.sendall(b"x" * 1024)
                sent += 1024
                time.sleep(0.002)
        assert sent < 2**18


def test_a_head_may_take_so_long(strict: DaemonProcess) -> None:
    with connect(strict) as silent, connect(strict) as slow:
        began = time.monotonic()
        slow.sendall(b"GET /health HT")
        answer = receive(slow, began)
        assert (answer.status, told(answer)) == (408, "request_timeout")
        assert HEAD_SECONDS - 0.2 < answer.seconds < HEAD_SECONDS + 6
        assert closed_after(silent) < HEAD_SECONDS + 6


def test_drops_of_bytes_do_not_lengthen_it(strict: DaemonProcess) -> None:
    for drop in (b"x", b"\r\n"):
        with connect(strict) as connection:
            began = time.monotonic()
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                if drop == b"x":
                    connection.sendall(b"GET /health HTTP/1.1\r\nhost: ")
                else:  # which end a connection's idleness, and begin nothing
                    assert receive(connection, began, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").status == 200
                while time.monotonic() < began + 10:
                    connection.sendall(drop)
                    time.sleep(0.1)
            assert time.monotonic() - began < HEAD_SECONDS + 6


def test_a_body_may_take_so_long(strict: DaemonProcess) -> None:
    for path in (b"/v1/chat/completions", b"/tokenize", b"/v1/messages/count_tokens"):
        with connect(strict) as connection:
            began = time.monotonic()
            head = b"POST " + path + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{"
            answer = receive(connection, began, head)
            assert answer.status == 408, answer.body
            assert b"request_timeout" in answer.body
            assert BODY_SECONDS - 0.2 < answer.seconds < BODY_SECONDS + 6
            assert closed_after(connection) < 6, "the rest of the body is not waited for"
    assert httpx.get(f"{strict.url}/health").json()["in_flight"] == 0


def test_a_body_that_nobody_reads_ends_too(strict: DaemonProcess) -> None:
    """Answered already, since the route takes no body: the connection must not stay for it."""
    with connect(strict) as connection:
        began = time.monotonic()
        answer = receive(connection, began, b"GET /health HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
        assert answer.status == 200
        for _ in range(3):
            connection.sendall(b"x")
            time.sleep(0.3)
        closed_after(connection)
        # Two seconds more than where somebody reads it, who is then the one to say so.
        assert BODY_SECONDS + 2 - 0.3 < time.monotonic() - began < BODY_SECONDS + 2 + 6


def test_an_idle_connection_is_closed_and_a_used_one_is_not(strict: DaemonProcess) -> None:
    request = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
    with connect(strict) as connection:
        for _ in range(2):
            assert receive(connection, time.monotonic(), request).status == 200
            time.sleep(0.6 * IDLE_SECONDS)
        assert receive(connection, time.monotonic(), request).status == 200
        assert IDLE_SECONDS - 0.3 < closed_after(connection) < IDLE_SECONDS + 6


def test_connections_from_an_address_are_bounded(strict: DaemonProcess) -> None:
    request = b"GET /health HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 8.8.8.8\r\n\r\n"
    time.sleep(0.5)  # the connections of the tests before have gone
    held = [connect(strict, "127.0.0.2") for _ in range(PER_ADDRESS)]
    try:
        assert all(receive(each, time.monotonic(), request).status == 200 for each in held)
        with connect(strict, "127.0.0.2") as one_more:
            refused = receive(one_more, time.monotonic(), request)
            assert (refused.status, told(refused)) == (429, "too_many_connections_from_address")
            assert "retry-after" in refused.head
        with connect(strict, "127.0.0.3") as other:
            assert receive(other, time.monotonic(), request).status == 200, "others are not kept out"
        others = [connect(strict, f"127.0.0.{number}") for number in range(4, 4 + TOTAL - PER_ADDRESS)]
        held += others
        time.sleep(0.2)
        with connect(strict, "127.0.0.9") as one_more:
            refused = receive(one_more, time.monotonic(), request)
            assert (refused.status, told(refused)) == (503, "too_many_connections")
        with connect(strict, "127.0.0.9") as silent:
            assert closed_after(silent) < 6, "who is refused cannot stay"
    finally:
        for each in held:
            each.close()
    time.sleep(0.5)
    assert get(strict, b"").status == 200, "who has gone has made room"


def test_the_defaults_let_usual_requests_in(front: Front) -> None:
    with front.client(front.keys.whole) as client:
        answer = client.post("/v1/chat/completions", content=CHAT, headers={"x-long": "x" * 30_000})
        assert answer.status_code == 200


def test_addresses_of_one_client_are_one() -> None:
    rules = ConnectionRules(1024, 8, 1.0, 1.0, 1.0, None, 2)
    doorman = Doorman(rules)
    assert doorman.enter("2001:db8:1:2::1") is None
    assert doorman.enter("2001:db8:1:2:ffff::9") is None
    assert doorman.enter("2001:db8:1:2:aaaa::%eth0") == (429, "too_many_connections_from_address")
    assert doorman.enter("2001:db8:1:3::1") is None
    assert doorman.enter("::ffff:10.0.0.1") is None
    assert doorman.enter("10.0.0.1") is None
    assert doorman.enter("10.0.0.1") == (429, "too_many_connections_from_address")
    assert doorman.enter("10.0.0.2") is None
    doorman.leave("10.0.0.1")
    assert doorman.enter("10.0.0.1") is None
    assert doorman.inside == 6
