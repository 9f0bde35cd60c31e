"""A few threads that wait for a database, so that neither the event loop nor the daemon's end ever does."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Deadline:
    """Until when one call's answer is waited for. Threads look at it before they commit."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds
        self.abandoned = False

    @property
    def left(self) -> float:
        """Seconds, at least 0."""
        return max(0.0, self._at - time.monotonic())


class Workers:
    """Runs calls in `threads` threads of its own.

    A thread that hangs is one less, and no more are made: calls wait for a free one in the event loop, where they can
    be given up, and only what a thread takes at once is handed over. The threads are daemon threads, since those of
    `concurrent.futures` would be waited for at the interpreter's end.
    """

    def __init__(self, threads: int) -> None:
        self._free = asyncio.Semaphore(threads)
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"store-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    async def run(self, seconds: float, call: Callable[[Deadline], T]) -> T:
        """What `call` returns or raises. Raises TimeoutError when that takes longer than `seconds`.

        The call goes on in its thread then, and finds its deadline abandoned.
        """
        deadline = Deadline(seconds)
        try:
            async with asyncio.timeout(seconds):
                await self._free.acquire()
                return await self._hand_over(call, deadline)
        finally:
            deadline.abandoned = True

    def stop(self) -> None:
        """Ends the threads, each when it is done with what it does; waits for none."""
        for _ in self._threads:
            self._calls.put(None)

    def _hand_over(self, call: Callable[[Deadline], T], deadline: Deadline) -> asyncio.Future[T]:
        """Gives the call to a thread that is free, which is free again when it has really ended."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def ended(result: Any, error: BaseException | None) -> None:
            self._free.release()
            if answer.done():
                return
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

        def work() -> None:
            result: Any = None
            error: BaseException | None = None
            try:
                result = call(deadline)
            except BaseException as raised:  # noqa: BLE001 - whatever it is, the caller gets it
                error = raised
            with suppress(RuntimeError):  # the loop has ended before the thread
                loop.call_soon_threadsafe(ended, result, error)

        self._calls.put(work)
        return answer

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # or its record would be kept until the next one
