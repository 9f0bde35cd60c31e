"""Writing what many streams have to send back to back, once in each turn of the event loop.

A step of the engine brings a token to every stream. Written as each stream is served, every write finds its reader
asleep again and has to wake it, which costs more than the write; written back to back, they do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from starlette.types import Message, Send

from server.telemetry.frontend_metrics import FRAMES


class NotRead(Exception):
    """The client has not read what it was sent, for longer than it may."""


class Line:
    """One stream's way out: messages are kept until the turn ends. What the client does not read holds up `write`.

    `patience` is for how many seconds; None is for ever.
    """

    def __init__(self, burst: Burst, send: Send, patience: float | None = None) -> None:
        self._patience = patience
        self._burst = burst
        self._send = send
        self.queued: list[Message] = []
        self._blocked: asyncio.Task[None] | None = None
        self._error: BaseException | None = None

    async def write(self, body: bytes) -> None:
        """Has the bytes sent at the end of this turn; waits first for the client to read what it was sent before.

        Several may wait so. Raises NotRead, and what sending earlier ones raised.
        """
        if self._blocked is not None:
            await self._unblocked()
        if self._error is not None:
            raise self._error
        self.queued.append({"type": "http.response.body", "body": body, "more_body": True})
        self._burst.add(self)

    async def drain(self) -> None:
        """Sends what is queued now, and returns with nothing left to send. Raises NotRead, and what sending raised."""
        while self.queued or self._blocked is not None:
            self.flush()
            await self._unblocked()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Sends what is queued as far as that goes without waiting, and gives up what the client has not read."""
        self.flush()
        if self._blocked is not None:
            self._blocked.cancel()

    def flush(self) -> None:
        """Sends what is queued, as far as the client's connection takes it."""
        queued, self.queued = self.queued, []
        if queued and self._error is None:
            self._go_on(self._send_all(queued))

    async def _unblocked(self) -> None:
        # Who is cancelled here leaves the sending to the others that wait for it.
        while self._blocked is not None:
            read, _ = await asyncio.wait({self._blocked}, timeout=self._patience)
            if not read:
                raise NotRead

    def _sent(self, blocked: asyncio.Task[None]) -> None:
        self._blocked = None
        if not blocked.cancelled():
            self._error = blocked.exception()

    async def _send_all(self, messages: list[Message]) -> None:
        for message in messages:
            await self._send(message)

    def _go_on(self, sending: Coroutine[Any, Any, None]) -> None:
        """Runs `sending` as far as it goes without waiting, which is nearly always to its end; else in a task."""
        try:
            waits_for = sending.send(None)
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001 - told to whoever writes next
            self._error = error
            return
        self._blocked = asyncio.ensure_future(_finish(sending, waits_for))
        # Before those who wait for it are told.
        self._blocked.add_done_callback(self._sent)


class Burst:
    """All lines of one event loop."""

    def __init__(self) -> None:
        self._lines: list[Line] = []

    def add(self, line: Line) -> None:
        """The line has something to send."""
        if not self._lines:
            # Behind those who are to run in this turn already.
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(line)

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        FRAMES.inc(len(lines))
        for line in lines:
            line.flush()


class _Rest:
    """Awaits what a coroutine was found to wait for, and then its rest."""

    def __init__(self, begun: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._begun = begun
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        try:
            while True:
                try:
                    got = yield waits_for
                except BaseException as error:  # noqa: BLE001 - the coroutine's to handle
                    waits_for = self._begun.throw(error)
                else:
                    waits_for = self._begun.send(got)
        except StopIteration:
            return


async def _finish(begun: Coroutine[Any, Any, None], waits_for: Any) -> None:
    await _Rest(begun, waits_for)
