"""Tidying up while nothing runs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref

import pytest

from server import idle_memory


class Node:
    def __init__(self) -> None:
        self.itself = self


def test_garbage_in_cycles_is_collected() -> None:
    gc.disable()
    try:
        gone = weakref.ref(Node())
        assert gone() is not None
        idle_memory.tidy()
        assert gone() is None
    finally:
        gc.enable()


async def test_it_tidies_once_after_each_rush_and_never_while_something_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    tidied: list[int] = []
    numbers = iter([0, 0, 3, 1, 0, 0, 0, 2, 0, 0])
    now = -1

    def in_flight() -> int:
        nonlocal now
        now = next(numbers)
        return now

    monkeypatch.setattr(idle_memory, "_LOOK_SECONDS", 0)
    monkeypatch.setattr(idle_memory, "tidy", lambda: tidied.append(now))
    with contextlib.suppress(RuntimeError):  # the numbers have come to their end
        await asyncio.wait_for(idle_memory.give_back_when_idle(in_flight), 5)
    assert tidied == [0, 0]
