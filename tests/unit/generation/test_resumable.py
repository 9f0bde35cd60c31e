"""An answer that gives its place away: what was handed out stays, the rest is made again. The engine is a script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from server.generation.conversation import Sampling, Structure, Tool, ToolChoice
from server.generation.ports import EngineDelta, Order, Price, Prompt
from server.generation.resumable import GivesWay, ResumableStream, resumable

ORDER = Order(Sampling(temperature=0.0), max_tokens=10, thinking=False)
CLOSE = 99


class ScriptedStream:
    """Deltas and exceptions in their order."""

    def __init__(self, script: Sequence[EngineDelta | Exception]) -> None:
        self.script = list(script)
        self.closed = 0
        self.interrupted: list[Exception] = []

    async def next(self) -> Sequence[EngineDelta]:
        item = self.script.pop(0)
        if isinstance(item, Exception):
            raise item
        return [item]

    def interrupt(self, error: Exception) -> None:
        self.interrupted.append(error)

    async def close(self) -> None:
        self.closed += 1


class ScriptedEngine:
    """Hands out its streams one after the other, and keeps what it was asked."""

    think_end_token = CLOSE

    def __init__(self, *streams: ScriptedStream) -> None:
        self.streams = list(streams)
        self.asked: list[tuple[str, Prompt, Order]] = []

    def extend(self, prompt: Prompt, made: Sequence[int], *, thinking: bool) -> Prompt:
        return Prompt(None, prompt.tokens + len(made), thinking, [*prompt.token_ids, *made])

    async def submit(self, request_id: str, prompt: Prompt, order: Order) -> ScriptedStream:
        self.asked.append((request_id, prompt, order))
        return self.streams.pop(0)


class Permit:
    """Always lets in again."""

    def __init__(self) -> None:
        self.readmissions: list[Prompt] = []
        self.interrupts: list[Callable[[Exception], None]] = []

    async def admitted(self, price: Price) -> None: ...

    def made(self, tokens: int, cached: int) -> None: ...

    def on_stop(self, stop: Callable[[], None]) -> None:
        self.stop = stop

    async def readmitted(self, prompt: Prompt) -> None:
        self.readmissions.append(prompt)

    def on_interrupt(self, interrupt: Callable[[Exception], None]) -> None:
        self.interrupts.append(interrupt)

    def end(self, outcome: str) -> None: ...


def delta(text: str, *ids: int, finish: str | None = None, cached: int = 0) -> EngineDelta:
    return EngineDelta(text, list(ids), finish, cached)


async def read(streams: Sequence[ScriptedStream], *, thinking: bool = False, order: Order = ORDER) -> tuple[Any, ...]:
    engine, permit = ScriptedEngine(*streams[1:]), Permit()
    prompt = Prompt(None, 2, thinking, [1, 2])
    stream = ResumableStream(engine, "r", prompt, order, permit, streams[0])  # type: ignore[arg-type]
    found: list[EngineDelta] = []
    while not found or found[-1].finish_reason is None:
        found += await stream.next()
    return found, engine, permit, stream


async def test_it_goes_on_after_what_was_handed_out() -> None:
    first = ScriptedStream([delta("a", 10, cached=1), delta("b", 11), GivesWay("")])
    second = ScriptedStream([delta("c", 12, cached=3, finish="stop")])
    found, engine, permit, _ = await read([first, second])
    assert "".join(each.text for each in found) == "abc"
    assert {each.cached_tokens for each in found} == {1}
    assert first.closed == 1
    ((name, prompt, order),) = engine.asked
    assert (name, prompt.token_ids, order.max_tokens) == ("r-1", [1, 2, 10, 11], 8)
    assert permit.readmissions == [prompt]


async def test_a_part_of_a_character_is_made_again() -> None:
    first = ScriptedStream([delta("a", 10), delta("", 11), GivesWay("")])
    second = ScriptedStream([delta("", 11), delta("é", 12), delta("", finish="length")])
    found, engine, _, _ = await read([first, second])
    assert engine.asked[0][1].token_ids == [1, 2, 10]
    assert [(each.text, list(each.token_ids)) for each in found] == [("a", [10]), ("é", [11, 12]), ("", [])]


async def test_it_can_give_way_more_than_once() -> None:
    streams = [ScriptedStream([delta("a", 10), GivesWay("")]), ScriptedStream([GivesWay("")])]
    found, engine, _, _ = await read([*streams, ScriptedStream([delta("b", 11, finish="stop")])])
    assert "".join(each.text for each in found) == "ab"
    assert [name for name, _, _ in engine.asked] == ["r-1", "r-2"]


@pytest.mark.parametrize(("made", "still"), [([10], True), ([10, CLOSE, 11], False)])
async def test_thinking_that_was_ended_stays_ended(made: list[int], still: bool) -> None:
    first = ScriptedStream([delta("x", *made), GivesWay("")])
    _, engine, _, _ = await read([first, ScriptedStream([delta("y", 12, finish="stop")])], thinking=True)
    assert engine.asked[0][1].thinking is still


async def test_the_permits_stop_reaches_the_stream_that_runs() -> None:
    first = ScriptedStream([delta("a", 10), GivesWay("")])
    second = ScriptedStream([delta("b", 11, finish="stop")])
    _, _, permit, _ = await read([first, second])
    permit.stop()
    assert [type(error) for error in second.interrupted] == [GivesWay]
    permit.interrupts[-1](ValueError("over"))
    assert isinstance(second.interrupted[-1], ValueError)
    await asyncio.sleep(0)


async def test_least_tokens_count_over_the_whole_answer() -> None:
    order = replace(ORDER, sampling=replace(ORDER.sampling, min_tokens=3))
    first = ScriptedStream([delta("a", 10), GivesWay("")])
    _, engine, _, _ = await read([first, ScriptedStream([delta("b", 11, finish="stop")])], order=order)
    assert engine.asked[0][2].sampling.min_tokens == 2


TOOL = Tool("f", None, {})


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (ORDER, True),
        (replace(ORDER, tools=[TOOL]), True),
        (replace(ORDER, answers=2), False),
        (replace(ORDER, structure=Structure("json_object")), False),
        (replace(ORDER, tools=[replace(TOOL, strict=True)]), False),
        (replace(ORDER, tools=[TOOL], tool_choice=ToolChoice(required=True)), False),
        (replace(ORDER, tools=[TOOL], tool_choice=ToolChoice(parallel=False)), False),
        (replace(ORDER, thinking_budget=5), False),
        (replace(ORDER, sampling=Sampling(seed=1)), False),
        (replace(ORDER, sampling=Sampling(stop=("x",))), False),
        (replace(ORDER, sampling=Sampling(presence_penalty=1.5)), False),
        (replace(ORDER, sampling=Sampling(frequency_penalty=0.1)), False),
        (replace(ORDER, sampling=Sampling(repetition_penalty=1.1)), True),
    ],
)
def test_only_what_goes_on_unnoticed_is_stopped(order: Order, expected: bool) -> None:
    assert resumable(order) is expected
