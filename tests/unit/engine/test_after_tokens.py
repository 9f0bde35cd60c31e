"""Statistics come after the frames that a step's tokens were written as."""

from __future__ import annotations

import asyncio
from typing import Any

from server.api.burst import Burst, Line
from server.engine.after_tokens import record_after_tokens


class Manager:
    """Stands for vLLM's StatLoggerManager."""

    def __init__(self, order: list[str]) -> None:
        self._order = order
        self.told: list[Any] = []

    def record(self, scheduler_stats: Any, iteration_stats: Any, engine_idx: int = 0) -> None:
        self._order.append("record")
        self.told.append((scheduler_stats, iteration_stats, engine_idx))


async def test_a_step_is_recorded_once_its_frames_are_written() -> None:
    order: list[str] = []
    manager = Manager(order)
    record_after_tokens(manager, lambda: order.append("handed out"))

    async def send(message: Any) -> None:
        order.append("write")

    burst = Burst()
    woken = [asyncio.get_running_loop().create_future() for _ in range(3)]

    async def stream(line: Line, tokens: asyncio.Future[None]) -> None:
        await tokens
        order.append("stream")
        await line.write(b"frame")

    streams = [asyncio.create_task(stream(Line(burst, send), each)) for each in woken]
    await asyncio.sleep(0)
    # What vLLM's output handler does in one turn.
    for each in woken:
        each.set_result(None)
    manager.record("scheduler", iteration_stats="iteration", engine_idx=1)
    order.append("handler")
    await asyncio.gather(*streams)
    for _ in range(4):
        await asyncio.sleep(0)
    assert order == ["handed out", "handler", *["stream"] * 3, *["write"] * 3, "record"]
    assert manager.told == [("scheduler", "iteration", 1)]
