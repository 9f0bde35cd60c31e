"""A step's statistics after its tokens: vLLM records them, 0.1 to 0.3 ms, before the streams that it has woken run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any


def record_after_tokens(manager: Any, handed_out: Callable[[], None]) -> None:
    """Has `manager.record` (vLLM's StatLoggerManager, 0.32) do its work once the step's frames have been written.

    `handed_out` is called at once, as a step's tokens have gone to their streams.
    """
    record = manager.record

    def later(*stats: Any, **named: Any) -> None:
        handed_out()
        loop = asyncio.get_running_loop()
        # Two turns on: in the next one the streams run and queue their frames, which are written at the end of it, as
        # the first thing of the turn after (server/api/burst.py).
        loop.call_soon(loop.call_soon, partial(record, *stats, **named))

    manager.record = later
