"""Several running generations read as one: the prompts of one request, each its own request to the engine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from itertools import repeat

from server.generation.errors import RequestFailed
from server.generation.events import Batch
from server.generation.generation import Generation, Usage
from server.generation.ports import Permit


class MergedGeneration:
    """Behaves as one Generation whose answers are those of all parts, in their order.

    A part may still wait for its place in the engine while others run: `parts` are its submissions, `answers` says how
    many each has. Each part keeps its own permit and ends it; when one fails, the others are closed with the same
    outcome.
    """

    def __init__(
        self, parts: Sequence[asyncio.Future[Generation]], permits: Sequence[Permit], answers: Sequence[int]
    ) -> None:
        self._parts = list(parts)
        self._permits = list(permits)
        self._answers = list(answers)
        self._came: asyncio.Queue[Batch | Exception | None] | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._unread = 0
        self._failure: Exception | None = None

    @property
    def finish_reasons(self) -> list[str | None]:
        """How each answer ended, part after part."""
        found: list[str | None] = []
        for part, answers in zip(self._parts, self._answers, strict=True):
            running = _begun(part)
            found += [None] * answers if running is None else running.finish_reasons
        return found

    @property
    def usage(self) -> Usage:
        """The parts' token counts, summed."""
        usages = [running.usage for part in self._parts if (running := _begun(part)) is not None]
        return Usage(
            prompt=sum(usage.prompt for usage in usages),
            cached=sum(usage.cached for usage in usages),
            completion=sum(usage.completion for usage in usages),
            reasoning=sum(usage.reasoning for usage in usages),
            tool=sum(usage.tool for usage in usages),
        )

    async def next(self) -> Sequence[Batch]:
        """The next batch as it comes, `answer` counted through all parts; none once all have ended.

        Raises what the first to fail raises, and the same when asked again. Whoever stops before the end must `close`.
        """
        if self._failure is not None:
            raise self._failure
        if self._came is None:
            # Bounded, so that a client that reads slowly holds its parts up instead of filling the memory.
            self._came = asyncio.Queue(maxsize=len(self._parts))
            self._readers = [asyncio.create_task(self._read(part, self._came)) for part in range(len(self._parts))]
            self._unread = len(self._parts)
        while self._unread:
            came = await self._came.get()
            if isinstance(came, Batch):
                return (came,)
            if came is None:
                self._unread -= 1
            else:
                self._failure = came
                await _end(self._readers)
                if isinstance(came, RequestFailed):
                    await self.close(came.outcome)
                raise came
        return ()

    async def events(self) -> AsyncGenerator[Batch, None]:
        """The same, batch by batch."""
        try:
            while batches := await self.next():
                for batch in batches:
                    yield batch
        finally:
            await _end(self._readers)

    async def close(self, outcome: str = "client_gone") -> None:
        """Closes every part that has not ended by itself, also where closing another one fails; raises the first such
        failure.
        """
        await _end(self._readers)
        closed = await asyncio.gather(
            *map(self._close, range(len(self._parts)), repeat(outcome)), return_exceptions=True
        )
        for failure in closed:
            if isinstance(failure, BaseException):
                raise failure

    async def _close(self, index: int, outcome: str) -> None:
        part = self._parts[index]
        if not part.done():
            part.cancel()
            await asyncio.wait({part})
        running = _begun(part)
        if running is not None:
            await running.close(outcome)
        else:
            self._permits[index].end(outcome)

    async def _read(self, index: int, into: asyncio.Queue[Batch | Exception | None]) -> None:
        first = sum(self._answers[:index])
        try:
            # Shielded: it is `close` that takes back what was submitted.
            running = await asyncio.shield(self._parts[index])
            async with contextlib.aclosing(running.events()) as batches:
                async for batch in batches:
                    await into.put(batch.of_answer(first + batch.answer))
        except Exception as error:  # noqa: BLE001 - handed over to whoever reads
            await into.put(error)
        else:
            await into.put(None)


def _begun(part: asyncio.Future[Generation]) -> Generation | None:
    """The running generation of a part that has entered the engine."""
    return part.result() if part.done() and not part.cancelled() and part.exception() is None else None


async def _end(readers: Sequence[asyncio.Task[None]]) -> None:
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)


RunningGeneration = Generation | MergedGeneration
"""What answers are made from."""
