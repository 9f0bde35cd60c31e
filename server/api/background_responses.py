"""Responses that are made while nobody waits for them: they run, are followed, cancelled, and stored at their end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from server.api.event_stream import EventStream
from server.api.request_trails import note_failure
from server.dialects.responses_stream import ResponseStream
from server.generation.errors import RequestFailed
from server.generation.merged_generation import RunningGeneration
from server.store.records import Owner
from server.store.response_store import ResponseStore
from server.telemetry.logs import get_logger

if TYPE_CHECKING:  # they know of the service, which knows of us
    from server.api.answering import Entry
    from server.api.response_exchange import ResponsesExchange
    from server.api.service import Service

_log = get_logger("responses")

_REPLAY_SECONDS = 300.0
"""How long the events of a response that has ended can be read again; as long as OpenAI says that it keeps them."""
_REPLAY_BYTES = 64 * 2**20
"""Of all those together; the oldest go first."""
_ONE_BYTES = 16 * 1024
_CLOSE_SECONDS = 5.0


class BackgroundResponse:
    """One response in the background. Its permit is held by the task that makes it, and by nobody else."""

    def __init__(self, entry: Entry[ResponsesExchange], store: ResponseStore) -> None:
        self._entry = entry
        self._store = store
        self.exchange = entry.exchange
        self.response = entry.exchange.response
        self._stream = ResponseStream(self.response, queued=True)
        self._events: list[bytes] = []
        self._grew = asyncio.Event()
        self._show(self._stream.start())
        self.ended = False
        self.task: asyncio.Task[None] | None = None

    @property
    def followed(self) -> bool:
        """Whether its events can be read: it was asked for as a stream."""
        return self.exchange.streamed

    @property
    def size(self) -> int:
        """Bytes that are kept of it, about."""
        return sum(map(len, self._events)) + _ONE_BYTES

    async def run(self) -> None:
        """Makes the response; never raises."""
        running: RunningGeneration | None = None
        watched = self._entry.watched
        try:
            running = await self._entry.start()
            self._show(self._stream.begun())
            while batches := await running.next():
                if watched.texts:
                    watched.add(batches)
                for batch in batches:
                    self._show(self._stream.batch(batch))
            last = self._stream.finish(watched.usage(running))
        except RequestFailed as error:
            note_failure(error)
            last = self._stream.failed(error)
        except asyncio.CancelledError:
            last = self._stream.cancelled()
        except Exception as error:  # noqa: BLE001 - nobody is there to raise to
            _log.error("a response in the background failed unexpectedly", exc_info=error)
            last = self._stream.failed(RequestFailed("The server failed to make this response."))
        try:
            if running is not None:
                await self._entry.close(running, "cancelled")
            await self._store.replace(self.exchange.record())
        except RequestFailed as error:
            # The client may still ask for it here, and must not take for stored what is not.
            note_failure(error)
            last = self._stream.failed(error)
        finally:
            watched.finish()
            self.ended = True
            self.exchange.release()
            self._show(last)
            self._grew.set()

    def followed_by(self, at: Service, after: int, headers: dict[str, str]) -> EventStream:
        """A stream of its events from the one after number `after` on, as they come. It runs on when a client goes."""
        sent = after + 1

        async def next_frames() -> bytes:
            nonlocal sent
            while not (new := self._events[sent:]):
                if self.ended:
                    return b""
                await self._grew.wait()
            sent += len(new)
            return b"".join(new)

        return EventStream(next_frames, _leave, headers, at.keep_alive, patience=at.patience)

    def _show(self, frames: bytes) -> None:
        if not frames or not self.followed:
            return
        # JSON has no line breaks of its own, so that a blank line is an event's end.
        self._events += [event + b"\n\n" for event in frames.split(b"\n\n")[:-1]]
        grew, self._grew = self._grew, asyncio.Event()
        grew.set()


async def _leave() -> None:
    """What a client that stops following changes: nothing."""


class BackgroundResponses:
    """All of this process's, those that run and those that ended a while ago."""

    def __init__(self) -> None:
        self._responses: dict[str, BackgroundResponse] = {}
        # A task that nobody holds would be collected.
        self._finishing: set[asyncio.Task[None]] = set()

    def run(self, response: BackgroundResponse) -> None:
        """Makes the response meanwhile."""
        self._responses[response.response.id] = response
        response.task = asyncio.create_task(response.run())
        response.task.add_done_callback(lambda _: self._ended(response))

    def find(self, id: str, owner: Owner) -> BackgroundResponse | None:
        """One that this owner made."""
        found = self._responses.get(id)
        return found if found is not None and found.exchange.owner == owner else None

    async def cancel(self, response: BackgroundResponse) -> None:
        """Ends it; returns when it is stored as cancelled, or has ended by itself."""
        if response.task is not None:
            response.task.cancel()
            await asyncio.wait({response.task})

    def forget(self, id: str) -> None:
        """Lets go of one that is to be found no more."""
        self._responses.pop(id, None)

    def finish_later(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs what is left to do for a response whose client has gone."""
        task = asyncio.create_task(work)
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def close(self) -> None:
        """Waits for what is still being made or stored, of responses whose requests have ended."""
        tasks = {each.task for each in self._responses.values() if each.task is not None} | self._finishing
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)

    def _ended(self, response: BackgroundResponse) -> None:
        id = response.response.id
        if response.followed or response.response.status == "failed":
            asyncio.get_running_loop().call_later(_REPLAY_SECONDS, self.forget, id)
            ended = [each for each in self._responses.values() if each.ended]
            size = sum(each.size for each in ended)
            for each in ended:
                if size <= _REPLAY_BYTES:
                    break
                size -= each.size
                self.forget(each.response.id)
        else:
            self.forget(id)
