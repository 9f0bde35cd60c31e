"""HTTP as it goes over the wire, for requests that no client library would send."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What came back; status 0 where the connection was closed without an answer."""

    status: int
    head: str
    body: bytes
    seconds: float


def exchange(port: int, request: bytes, seconds: float = 10.0) -> Answer:
    """Sends `request` on a connection of its own and reads one answer, or to the connection's end."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        return receive(connection, began, request)


def receive(connection: socket.socket, began: float, request: bytes = b"") -> Answer:
    """Sends `request` on `connection` and reads one answer."""
    came = b""
    try:
        connection.sendall(request)
        while b"\r\n\r\n" not in came:
            part = connection.recv(65536)
            if not part:
                break
            came += part
        head, _, body = came.partition(b"\r\n\r\n")
        told = _length(head)
        while told is None or len(body) < told:
            part = connection.recv(65536)
            if not part:
                break
            body += part
    except (ConnectionResetError, BrokenPipeError):
        head, _, body = came.partition(b"\r\n\r\n")
    text = head.decode("latin-1")
    status = int(text.split()[1]) if text.startswith("HTTP/") else 0
    return Answer(status, text, body, time.monotonic() - began)


def _length(head: bytes) -> int | None:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return None
