from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from server.telemetry.request_lines import Later


async def written(lines: list[int], count: int) -> None:
    async with asyncio.timeout(5):
        while len(lines) < count:
            await asyncio.sleep(0.001)


def slowly(seconds: float, lines: list[int]) -> Callable[[int], None]:
    def write(number: int) -> None:
        time.sleep(seconds)
        lines.append(number)

    return write


async def test_a_line_is_written_later_and_soon_and_in_order() -> None:
    lines: list[int] = []
    later = Later(lines.append)
    for number in range(3):
        later(number)
    await asyncio.sleep(0)
    assert lines == []
    await written(lines, 3)
    assert lines == [0, 1, 2]


async def test_many_lines_are_written_over_several_turns() -> None:
    lines: list[int] = []

    later = Later(slowly(0.001, lines))
    for number in range(12):
        later(number)
    seen = set()
    while len(lines) < 12:
        await asyncio.sleep(0)
        seen.add(len(lines))
    assert len(seen) > 3
    assert lines == list(range(12))


async def test_too_many_lines_are_not_kept_waiting() -> None:
    lines: list[int] = []

    later = Later(slowly(0.0001, lines))
    for number in range(700):
        later(number)
    while not lines:
        await asyncio.sleep(0)
    assert len(lines) >= 700 - 512


async def test_a_flush_writes_all_and_nothing_is_written_twice() -> None:
    lines: list[int] = []
    later = Later(lines.append)
    later(1)
    later.flush()
    assert lines == [1]
    await asyncio.sleep(0.02)
    assert lines == [1]
    later(2)
    await written(lines, 2)
    assert lines == [1, 2]


def test_without_an_event_loop_it_is_written_at_once() -> None:
    lines: list[int] = []
    Later(lines.append)(1)
    assert lines == [1]
