"""VllmStream in the place of a collector, with the outputs put in by hand."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from server.engine.coalescing import Coalescer
from server.engine.stream import VllmStream
from server.engine.torchvision_ops import ensure
from server.generation.errors import EngineFailed, Interrupted

ensure()  # errors are told apart by vLLM's classes


class Llm:
    def __init__(self) -> None:
        self.aborted: list[str] = []

    async def abort(self, request_id: str, *, internal: bool) -> None:
        assert internal
        self.aborted.append(request_id)


def stream(
    coalescer: Coalescer | None = None, *, before: Any = None, plain: bool = False, whole: bool = False
) -> tuple[VllmStream, SimpleNamespace, Llm]:
    queue, llm = SimpleNamespace(request_id="r", output=before, put=None), Llm()
    return VllmStream(llm, queue, coalescer or Coalescer(0.0, 0.6), plain=plain, whole=whole), queue, llm


def output(text: str, *ids: int, finish: str | None = None, answer: int = 0, finished: bool | None = None) -> Any:
    completion = SimpleNamespace(
        index=answer, text=text, token_ids=list(ids), finish_reason=finish, stop_reason=None, logprobs=None
    )
    done = finish is not None if finished is None else finished
    return SimpleNamespace(outputs=[completion], finished=done, num_cached_tokens=3)


async def soon(given: VllmStream) -> list[tuple[int, str, list[int], str | None, int]]:
    deltas = await asyncio.wait_for(given.next(), 10)
    return [(each.answer, each.text, list(each.token_ids), each.finish_reason, each.cached_tokens) for each in deltas]


async def test_what_came_since_the_last_time_is_one_delta_an_answer() -> None:
    made, queue, _ = stream(before=output("a", 1))
    queue.put(output("b", 2, 3, answer=1))
    queue.put(output("c", 4, finish="length", finished=False))
    assert await soon(made) == [(0, "ac", [1, 4], "length", 3), (1, "b", [2, 3], None, 3)]
    queue.put(output("d", 5, answer=1, finish="stop"))
    assert await soon(made) == [(1, "d", [5], "stop", 3)]


async def test_tokens_before_an_error_are_given_first_and_the_error_stays() -> None:
    made, queue, _ = stream(plain=True)
    queue.put(output("a", 1))
    queue.takes_tokens.put_tokens("b", [2])
    queue.put(RuntimeError("x"))
    assert await soon(made) == [(0, "ab", [1, 2], None, 3)]
    for _ in range(2):
        with pytest.raises(EngineFailed):
            await soon(made)


async def test_an_interrupt_reaches_who_waits_but_not_a_finished_answer() -> None:
    made, queue, _ = stream()
    waiting = asyncio.create_task(soon(made))
    await asyncio.sleep(0.01)
    made.interrupt(Interrupted("x"))
    with pytest.raises(Interrupted):
        await waiting
    other, queue, _ = stream()
    queue.put(output("a", 1, finish="stop"))
    other.interrupt(Interrupted("x"))
    assert await soon(other) == [(0, "a", [1], "stop", 3)]


async def test_closing_frees_once_and_a_finished_one_never() -> None:
    made, queue, llm = stream()
    await made.close()
    await made.close()
    assert llm.aborted == ["r"]
    done, queue, llm = stream()
    queue.put(output("a", 1, finish="stop"))
    await done.close()
    assert llm.aborted == []


async def test_held_tokens_that_are_taken_before_their_time_leave_no_release_behind() -> None:
    coalescer = Coalescer(0.02, 0.6)
    coalescer.steps = 3
    made, queue, _ = stream(coalescer, plain=True)
    queue.put(output("a", 1))
    await soon(made)  # the first is never held
    queue.takes_tokens.put_tokens("b", [2])
    assert await soon(made) == [(0, "b", [2], None, 3)]
    waiting = asyncio.create_task(soon(made))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    queue.put(output("c", 3, finish="stop"))
    assert await waiting == [(0, "c", [3], "stop", 3)]


async def test_the_first_and_the_end_are_never_held_and_the_rest_for_no_longer_than_it_may_be() -> None:
    # Long beside what a busy machine takes for nothing.
    coalescer = Coalescer(1.5, 0.6)
    coalescer.steps = 100
    made, queue, _ = stream(coalescer, plain=True)

    async def seconds(put: Any) -> float:
        loop = asyncio.get_running_loop()
        waiting, began = asyncio.create_task(soon(made)), loop.time()
        for _ in range(5):  # until it waits
            await asyncio.sleep(0)
        put()
        await waiting
        return loop.time() - began

    assert await seconds(lambda: queue.put(output("a", 1))) < 1.0
    assert await seconds(lambda: queue.takes_tokens.put_tokens("b", [2])) >= 1.4
    assert await seconds(lambda: queue.put(output("c", 3, finish="stop"))) < 1.0


async def test_an_answer_that_is_read_whole_is_taken_in_by_many_steps() -> None:
    made, queue, _ = stream(plain=True, whole=True)
    queue.put(output("a", 1))
    assert await soon(made) == [(0, "a", [1], None, 3)], "the first token is told at once"
    waiting = asyncio.create_task(soon(made))
    await asyncio.sleep(0.01)
    for _ in range(31):
        await asyncio.sleep(0)
        queue.takes_tokens.put_tokens("b", [2])
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.takes_tokens.put_tokens("c", [3])
    assert await waiting == [(0, "b" * 31 + "c", [2] * 31 + [3], None, 3)]
    waiting = asyncio.create_task(soon(made))
    await asyncio.sleep(0.01)
    queue.put(output("d", 4, finish="stop"))
    assert await waiting == [(0, "d", [4], "stop", 3)], "nor does its end wait"
