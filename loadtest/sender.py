"""Requests sent at the times that a plan says, whatever the server does: an open loop.

Times count from the intended moment, so that a server which holds the sender up is not excused from what it delayed
(coordinated omission). How late the sender itself was is told with each record.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson

from loadtest.answer_stream import AnswerStream, code_of
from loadtest.http_client import Connection, Lost, Pool, Target
from loadtest.record import REFUSALS, Record, Shot, Try

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
# A refusal that tells no time, or one so far away that the run would never end, is not come back from.
_LONGEST_RETRY = 600.0
_PULSE = 0.01


@dataclass(slots=True)
class Counters:
    """How far a run is, for who watches it."""

    sent: int = 0
    running: int = 0
    finished: int = 0
    refused: int = 0
    failed: int = 0
    cancelled: int = 0
    pieces: int = 0
    opened: int = 0
    ttfts: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)


class _Answer:
    """Takes the answer of one try."""

    __slots__ = ("_counters", "_error", "record", "stream", "told", "tried")

    def __init__(self, record: Record, tried: Try, stream: AnswerStream, counters: Counters) -> None:
        self.record, self.tried, self.stream, self._counters = record, tried, stream, counters
        self._error: list[bytes] = []
        self.told = False

    def headers(self, status: int, headers: Mapping[str, str]) -> None:
        """Its head."""
        self.record.status = self.tried.status = status
        if status != 200:
            self.tried.retry_after = retry_after(headers)

    def body(self, data: bytes, now: float) -> None:
        """A part of its body."""
        if self.tried.status == 200:
            pieces = self.stream.feed(data, now)
            self._counters.pieces += pieces
            if not self.told and self.record.ttft is not None:
                self.told = True
                self._counters.ttfts.append(self.record.ttft)
        else:
            self._error.append(data)

    def end(self) -> None:
        """All of it has come."""
        if self.tried.status == 200:
            self.stream.end()
            if not self.record.finished and not self.record.code:
                self.record.code = "stream_ended_early"
        else:
            try:
                self.record.code = code_of(orjson.loads(b"".join(self._error)))
            except orjson.JSONDecodeError:
                self.record.code = f"http_{self.tried.status}"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until a refused client may come back: `retry-after-ms`, else `retry-after`; None where none is told."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError):
            return max(0.0, float(headers[name]) / unit)
    return None


class Sender:
    """Sends shots to one server and collects their records."""

    def __init__(self, target: Target, counters: Counters | None = None, path: str = CHAT) -> None:
        self._target, self._path = target, path
        self._pool = Pool(target)
        self.counters = counters or Counters()
        self.records: list[Record] = []
        self.pulses: list[float] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._start = 0.0

    def payload(self, shot: Shot) -> bytes:
        """The bytes of a shot's request."""
        headers = {"content-type": "application/json", "accept": "text/event-stream", **shot.headers}
        return self._target.request("POST", self._path, headers, orjson.dumps(shot.body))

    def prepare(self, shots: Iterable[Shot]) -> list[Shot]:
        """The shots in order, each with its bytes, so that nothing but sending is left for the run."""
        ordered = sorted(shots, key=lambda each: each.at)
        for shot in ordered:
            shot.payload = self.payload(shot)
            if not shot.turns:
                shot.body = {}
        return ordered

    async def run(
        self, shots: Sequence[Shot], start: float, settle: float, tick: Callable[[], None] | None = None
    ) -> list[Record]:
        """Sends prepared shots from `start` (`time.monotonic`) on; cuts off what goes on `settle` s after the last."""
        self._start = start
        pulse = asyncio.create_task(self._pulse(start, tick))
        try:
            last = shots[-1].at if shots else 0.0
            for shot in shots:
                wait = start + shot.at - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                self._fire(shot)
            await self._settled(start + last + settle)
        finally:
            pulse.cancel()
            self._pool.close()
        return self.records

    def _fire(self, shot: Shot) -> None:
        task = asyncio.create_task(self._shoot(shot))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._tasks:
            self._idle.set()

    async def _settled(self, until: float) -> None:
        while self._tasks and (left := until - time.monotonic()) > 0:
            self._idle.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), left)
        rest = list(self._tasks)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _pulse(self, start: float, tick: Callable[[], None] | None) -> None:
        """How late this process gets to what is due: what it reads is stamped as late as that."""
        due = max(start, time.monotonic())
        told = due
        while True:
            due += _PULSE
            await asyncio.sleep(due - time.monotonic())
            now = time.monotonic()
            self.pulses.append(now - due)
            # After a hang the missed ones do not count again.
            due = max(due, now)
            if tick is not None and now - told >= 0.5:
                told = now
                self.counters.opened = self._pool.opened
                tick()

    async def _shoot(self, shot: Shot) -> None:
        """A request with its retries, and the turns that follow it."""
        while True:
            record = Record(shot.number, shot.tenant, shot.at, shot.turn)
            self.records.append(record)
            self.counters.sent += 1
            self.counters.running += 1
            intended = self._start + shot.at
            stream = AnswerStream(record, intended, keep_text=bool(shot.turns))
            try:
                stream = await self._tries(shot, record, intended, stream)
            except asyncio.CancelledError:
                record.code, record.finished = "unfinished", False
                raise
            finally:
                # Whoever went before the end has had so many tokens all the same.
                stream.end()
                record.e2e = time.monotonic() - intended
                self.counters.running -= 1
                self._count(record)
            if not (shot.turns and record.finished):
                return
            following, *rest = shot.turns
            messages = [
                *shot.body["messages"],
                {"role": "assistant", "content": "".join(stream.text)},
                {"role": "user", "content": following.text},
            ]
            shot = replace(
                shot,
                at=shot.at + record.e2e + following.pause,
                body={**shot.body, "messages": messages, "max_tokens": following.max_tokens},
                turns=tuple(rest),
                turn=shot.turn + 1,
            )
            shot.payload = self.payload(shot)
            await asyncio.sleep(max(0.0, self._start + shot.at - time.monotonic()))

    async def _tries(self, shot: Shot, record: Record, intended: float, stream: AnswerStream) -> AnswerStream:
        for number in range(shot.retries + 1):
            tried = Try(time.monotonic() - intended)
            record.tries.append(tried)
            if number == 0:
                record.lag = tried.sent
                self.counters.lags.append(tried.sent)
            else:
                stream = AnswerStream(record, intended, keep_text=bool(shot.turns))
            record.code, record.status = "", 0
            answer = _Answer(record, tried, stream, self.counters)
            try:
                await self._exchange(shot, answer, intended)
            except Lost as error:
                # Being cut off by our own hand is no failure of the server's.
                record.code = "" if record.cancelled else record.code or error.reason
            except OSError as error:
                record.code = record.code or type(error).__name__
            else:
                answer.end()
            tried.ended = time.monotonic() - intended
            told = tried.retry_after
            again = tried.status in REFUSALS and told is not None and told <= _LONGEST_RETRY
            if record.cancelled or not again or number == shot.retries or told is None:
                break
            await asyncio.sleep(told)
        return stream

    async def _exchange(self, shot: Shot, answer: _Answer, intended: float) -> None:
        connection, used = await self._pool.connection()
        leaving = self._leaving(shot, answer.record, connection, intended)
        try:
            try:
                await connection.start(shot.payload, answer)
            except Lost as error:
                if not (used and error.unanswered) or answer.record.cancelled or answer.record.code == "deadline":
                    raise
                # The server closed it while it was idle; that is for a client to make good.
                connection, _ = await self._pool.connection(fresh=True)
                if leaving is not None:
                    leaving.cancel()
                leaving = self._leaving(shot, answer.record, connection, intended)
                await connection.start(shot.payload, answer)
        except asyncio.CancelledError:
            connection.abort()
            raise
        finally:
            if leaving is not None:
                leaving.cancel()

    def _leaving(
        self, shot: Shot, record: Record, connection: Connection, intended: float
    ) -> asyncio.TimerHandle | None:
        """Goes away when the shot says, if it says; the handle is cancelled when the answer came first."""
        loop = asyncio.get_running_loop()
        limits = [each for each in (shot.cancel_after, shot.deadline) if each is not None]
        if not limits:
            return None
        wished = shot.cancel_after is not None and shot.cancel_after == min(limits)

        def leave() -> None:
            if wished:
                record.cancelled = True
            else:
                record.code = "deadline"
            connection.abort()

        return loop.call_later(max(0.0, intended + min(limits) - time.monotonic()), leave)

    def _count(self, record: Record) -> None:
        counters = self.counters
        if record.finished:
            counters.finished += 1
        elif record.cancelled:
            counters.cancelled += 1
        elif record.refused:
            counters.refused += 1
        else:
            counters.failed += 1


async def fire(base_url: str, shots: Iterable[Shot], *, settle: float = 120.0) -> list[Record]:
    """Sends all shots at their times; returns their records, in the order of the shots' times, when all have ended."""
    sender = Sender(Target.of(base_url))
    prepared = sender.prepare(shots)
    return sorted(await sender.run(prepared, time.monotonic() + 0.2, settle), key=lambda each: each.at)
