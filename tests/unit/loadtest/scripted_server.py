"""A server that answers each request as a script says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

# Given the number of the request, its body and the writer; true when the connection stays open.
Script = Callable[[int, Any, asyncio.StreamWriter], Awaitable[bool]]


@dataclass
class ScriptedServer:
    script: Script
    bodies: list[Any] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    int(line.split(":")[1]) for line in head.lower().split("\r\n") if "content-length" in line
                )
                body = await reader.readexactly(length)
                self.heads.append(head)
                self.bodies.append(json.loads(body) if body else None)
                if not await self.script(len(self.bodies) - 1, self.bodies[-1], writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def piece(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def whole(*texts: str) -> bytes:
    return STREAM + b"".join(chunk(piece(text)) for text in texts) + chunk(DONE) + b"0\r\n\r\n"


def refusal(headers: str = "retry-after: 1\r\n", status: str = "503 Full") -> bytes:
    body = b'{"error": {"code": "overloaded", "message": "later"}}'
    return f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body
