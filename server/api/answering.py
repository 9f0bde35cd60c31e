"""What every endpoint that generates does with a request: its permits, its body, and its answer, whole or streamed.

An endpoint brings an `Exchange`, which is one request in its dialect; all the rest is here, once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from server.admission.classes import PriorityClass
from server.admission.desk import AdmissionPermit, Desk
from server.admission.tenants import Caller
from server.api.asking import ask, fingerprint, timeout_seconds
from server.api.auth import caller
from server.api.body import read_body
from server.api.disconnect import ClientGone, while_connected
from server.api.event_stream import COMMENT, EventStream
from server.api.ignored_parameters import ignored_parameters
from server.api.parsing import parsed
from server.api.request_trails import note_failure
from server.api.service import Service, service
from server.api.watched import Watched
from server.generation.errors import RequestFailed
from server.generation.events import Batch
from server.generation.expectation import Expectation
from server.generation.generation import Usage
from server.generation.merged_generation import RunningGeneration
from server.generation.pipeline import Pipeline
from server.generation.ports import Permit
from server.telemetry.metrics import IGNORED_PARAMETERS
from server.telemetry.trail import stage


class Frames(Protocol):
    """A dialect's way to stream."""

    def start(self) -> bytes:
        """What comes first; may be empty."""

    def batch(self, batch: Batch) -> bytes:
        """The frames of a batch; empty when nothing of it shows on the wire."""

    def finish(self, usage: Usage) -> bytes:
        """What ends complete answers."""

    def failed(self, error: RequestFailed) -> bytes:
        """What ends an answer that cannot be completed."""


class Whole(Protocol):
    """A dialect's way to answer in one body."""

    def add(self, batch: Batch) -> None:
        """Takes in the next batch."""

    def encode(self, finish_reasons: Sequence[str | None], usage: Usage) -> bytes:
        """The body."""


class Exchange(Protocol):
    """One request that was parsed, in its dialect: what is asked, and how it is answered."""

    @property
    def ignored(self) -> Sequence[str]:
        """Names of the fields that had no effect since nobody knows them."""

    @property
    def streamed(self) -> bool:
        """Whether the answer is a stream."""

    @property
    def priority(self) -> PriorityClass:
        """How urgent it is."""

    def expect(self, pipeline: Pipeline) -> Sequence[Expectation]:
        """What each of its requests to the engine will take; each needs a permit. Raises InvalidRequest."""

    async def start(self, pipeline: Pipeline, permits: Sequence[Permit]) -> RunningGeneration:
        """Runs the road up to the engine's acceptance. Raises RequestFailed; the permits are then the caller's."""

    def frames(self, running: RunningGeneration) -> Frames:
        """What streams the answer."""

    def whole(self, running: RunningGeneration) -> Whole:
        """What puts the answer together."""


Asked = TypeVar("Asked", bound=Exchange)


@dataclass(frozen=True, slots=True)
class Entry(Generic[Asked]):
    """A request that admission has taken in: what is left is to hand it to the engine, or to `end` it."""

    exchange: Asked
    _pipeline: Pipeline
    _permits: _Permits
    watched: Watched

    async def start(self) -> RunningGeneration:
        """Runs the road up to the engine's acceptance. Raises RequestFailed; all that was held is given back then."""
        with self._permits.ended_by_failure(self.watched):
            return await self.exchange.start(self._pipeline, self._permits.held)

    def end(self, outcome: str) -> None:
        """Gives back what is held, if the engine does not have the request."""
        self._permits.end(outcome)
        self.watched.ended(self._permits.held, None)

    async def close(self, running: RunningGeneration, outcome: str = "client_gone") -> None:
        """Frees what the engine still has of it, and tells its trail how it ended."""
        try:
            await running.close(outcome)
        finally:
            self.watched.ended(self._permits.held, running)


async def enter(
    request: Request,
    parse: Callable[[bytearray, Service, Caller], Asked],
    look_up: Callable[[Asked], Awaitable[None]] | None = None,
) -> Entry[Asked]:
    """Takes a request for generated text in. `parse` may run in a thread; `look_up` fetches what the request refers to.
    Both raise RequestFailed.
    """
    at, sender = service(request), caller(request)
    permits = _Permits(at.desk)
    watched = Watched(at, sender)
    with permits.ended_by_failure(watched):
        # One is held while the body arrives; the others are known of only after it.
        permits.enter(1)
        body = await read_body(request, at.body_bytes, at.body_values, at.body_seconds)
        exchange, mark = await parsed(body, lambda body: (parse(body, at, sender), fingerprint(sender, body)))
        watched.received(exchange, body)
        if look_up is not None:
            await look_up(exchange)
        assert at.pipeline is not None  # the gate lets nobody in before it is there
        expected = exchange.expect(at.pipeline)
        watched.expects(expected)
        permits.enter(len(expected) - 1)
        limit = timeout_seconds(request.headers)
        for index, (permit, each) in enumerate(zip(permits.held, expected, strict=True)):
            asked = ask(each, sender, exchange.priority, limit, mark + index.to_bytes(2))
            with stage("queue"):
                await permit.reserve(sender, asked, bounded=each.bounded)
    return Entry(exchange, at.pipeline, permits, watched)


async def answer(
    request: Request, parse: Callable[[bytearray, Service, Caller], Exchange], keep_alive: bytes = COMMENT
) -> Response:
    """Answers a request for generated text. `parse` is as for `enter`; `keep_alive` is what a stream sends where
    nothing else comes for a while.
    """
    at = service(request)
    entry = await enter(request, parse)
    exchange = entry.exchange
    running = await while_connected(request.receive, entry.start())
    headers = told_ignored(exchange)
    if exchange.streamed:
        streamed = Streamed(running, exchange.frames(running), entry.watched)
        return EventStream(streamed.next, lambda: entry.close(running), headers, at.keep_alive, keep_alive, at.patience)
    try:
        body = await while_connected(request.receive, collect(running, exchange.whole(running), entry.watched))
    finally:
        await entry.close(running)
    return Response(body, headers=headers, media_type="application/json")


def told_ignored(exchange: Exchange) -> dict[str, str]:
    """The headers that name the fields which had no effect; they are counted."""
    IGNORED_PARAMETERS.inc(len(exchange.ignored))
    return ignored_parameters(exchange.ignored)


class _Permits:
    """The permits of one HTTP request, entered all or none and ended together until the engine has its requests."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.held: list[AdmissionPermit] = []

    def enter(self, count: int) -> None:
        """Raises Unavailable; what is held then is still to be ended."""
        for _ in range(count):
            self.held.append(self._desk.enter())

    def end(self, outcome: str) -> None:
        for permit in self.held:
            permit.end(outcome)

    @contextlib.contextmanager
    def ended_by_failure(self, watched: Watched) -> Iterator[None]:
        """Ends them with whatever is raised inside, and tells `watched`."""
        try:
            yield
        except BaseException as error:
            self.end(error.outcome if isinstance(error, RequestFailed) else "client_gone" if _left(error) else "error")
            watched.ended(self.held, None)
            raise


async def collect(running: RunningGeneration, whole: Whole, watched: Watched) -> bytes:
    """The body of an answer that is made to its end. Raises RequestFailed."""
    while batches := await running.next():
        if watched.texts:
            watched.add(batches)
        for batch in batches:
            whole.add(batch)
    return whole.encode(running.finish_reasons, watched.usage(running))


class Streamed:
    """A running generation as the bytes of its stream. `settle` is awaited before its last frames go; where it raises
    RequestFailed, the stream ends with that.
    """

    def __init__(
        self,
        running: RunningGeneration,
        frames: Frames,
        watched: Watched,
        settle: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._running = running
        self._frames = frames
        self._watched = watched
        self._texts = watched.texts
        self._settle = settle
        self._begun = self._ended = False

    async def next(self) -> bytes:
        """The next frames, nothing after the last."""
        frames, running = self._frames, self._running
        if not self._begun:
            self._begun = True
            if started := frames.start():
                return started
        if self._ended:
            return b""
        try:
            while batches := await running.next():
                if self._texts:
                    self._watched.add(batches)
                if shown := b"".join([frames.batch(batch) for batch in batches]):
                    return shown
        except RequestFailed as error:
            note_failure(error)
            return await self._last(frames.failed(error))
        return await self._last(frames.finish(self._watched.usage(running)))

    async def _last(self, last: bytes) -> bytes:
        self._ended = True
        if self._settle is not None:
            try:
                await self._settle()
            except RequestFailed as error:
                note_failure(error)
                return self._frames.failed(error)
        return last


def _left(error: BaseException) -> bool:
    return isinstance(error, ClientGone | ClientDisconnect | asyncio.CancelledError)
