"""Several generations read as one, over scripted streams: all of them end exactly once, whatever happens."""

from __future__ import annotations

import asyncio

import pytest

from server.generation.errors import EngineDied, EngineFailed
from server.generation.events import TextDelta
from server.generation.generation import Generation
from server.generation.merged_generation import MergedGeneration
from server.generation.plain_text import PlainText
from server.generation.ports import EngineDelta, Prompt


class Stream:
    """A stream that gives its script, a step each time the loop comes round, and then waits for ever."""

    def __init__(self, *script: EngineDelta | Exception) -> None:
        self.script = list(script)
        self.closed = 0

    async def next(self) -> list[EngineDelta]:
        await asyncio.sleep(0)
        if not self.script:
            await asyncio.Event().wait()
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return [step]

    def interrupt(self, error: Exception) -> None:
        self.script.insert(0, error)

    async def close(self) -> None:
        self.closed += 1


class Permit:
    def __init__(self) -> None:
        self.outcome: str | None = None

    def made(self, tokens: int, cached: int) -> None: ...

    def on_interrupt(self, interrupt: object) -> None: ...

    def end(self, outcome: str) -> None:
        self.outcome = self.outcome or outcome


def delta(text: str, finish: str | None = None, answer: int = 0) -> EngineDelta:
    return EngineDelta(text, [1], finish, 2, answer)


def merged(*streams: Stream, answers: int = 1) -> tuple[MergedGeneration, list[Permit]]:
    permits = [Permit() for _ in streams]
    parts = [
        Generation(stream, PlainText, permit, Prompt(None, 10, thinking=False), None, answers=answers)
        for stream, permit in zip(streams, permits, strict=True)
    ]
    return MergedGeneration([entered(part) for part in parts], permits, [answers] * len(parts)), permits


def entered(part: Generation) -> asyncio.Future[Generation]:
    future = asyncio.get_running_loop().create_future()
    future.set_result(part)
    return future


async def test_answers_keep_their_place_and_counts_are_summed() -> None:
    streams = (
        Stream(delta("a"), delta("b", "stop"), delta("c", "length", 1)),
        Stream(delta("d", "stop", 1), delta("e", "length")),
    )
    running, permits = merged(*streams, answers=2)
    texts = ["", "", "", ""]
    first: list[int] = []
    async for batch in running.events():
        first.append(batch.answer)
        texts[batch.answer] += "".join(event.text for event in batch.events if isinstance(event, TextDelta))
    assert texts == ["ab", "c", "e", "d"]
    assert first[:2] == [0, 3], "neither waits for the other"
    assert running.finish_reasons == ["stop", "length", "length", "stop"]
    usage = running.usage
    assert (usage.prompt, usage.cached, usage.completion, usage.reasoning) == (20, 4, 5, 0)
    assert [permit.outcome for permit in permits] == ["stop", "length"]


@pytest.mark.parametrize("error", [EngineFailed("x"), EngineDied("x")])
async def test_when_one_fails_the_others_are_closed_with_its_outcome(error: EngineFailed) -> None:
    waiting, finished = Stream(delta("a")), Stream(delta("b", "stop"))
    running, permits = merged(waiting, Stream(delta("c"), delta("d"), error), finished)
    with pytest.raises(type(error)):
        async for _ in running.events():
            pass
    assert waiting.closed == 1
    assert [permit.outcome for permit in permits] == [error.outcome, error.outcome, "stop"]


async def test_leaving_in_the_middle_closes_all() -> None:
    streams = (Stream(delta("a")), Stream(delta("b")))
    running, permits = merged(*streams)
    before = len(asyncio.all_tasks())
    events = running.events()
    await anext(events)
    await events.aclose()
    await running.close()
    assert len(asyncio.all_tasks()) == before
    assert [stream.closed for stream in streams] == [1, 1]
    assert [permit.outcome for permit in permits] == ["client_gone"] * 2


async def test_a_reader_that_lags_holds_the_parts_up() -> None:
    streams = tuple(Stream(*(delta("a") for _ in range(100))) for _ in range(2))
    running, _ = merged(*streams)
    events = running.events()
    await anext(events)
    for _ in range(50):
        await asyncio.sleep(0)
    assert min(len(stream.script) for stream in streams) > 90
    await events.aclose()


async def test_a_defect_in_closing_one_does_not_keep_the_others_open() -> None:
    class Broken(Stream):
        async def close(self) -> None:
            raise RuntimeError("x")

    other = Stream()
    running, permits = merged(Broken(), other)
    with pytest.raises(RuntimeError):
        await running.close()
    assert other.closed == 1
    assert [permit.outcome for permit in permits] == ["client_gone"] * 2


async def test_who_waits_for_a_place_joins_once_others_have_left() -> None:
    permits = [Permit(), Permit()]
    prompt = Prompt(None, 10, thinking=False)
    streams = [Stream(delta("a", "stop")), Stream(delta("b", "stop"))]
    parts = [
        Generation(stream, PlainText, permit, prompt, None) for stream, permit in zip(streams, permits, strict=True)
    ]
    later: asyncio.Future[Generation] = asyncio.get_running_loop().create_future()
    running = MergedGeneration([entered(parts[0]), later], permits, [1, 1])
    assert running.finish_reasons == [None, None]
    events = running.events()
    assert (await anext(events)).answer == 0
    later.set_result(parts[1])
    assert [batch.answer async for batch in events] == [1]
    assert running.finish_reasons == ["stop", "stop"]
    assert running.usage.prompt == 20


async def test_who_still_waits_is_taken_back_when_the_client_leaves() -> None:
    permit = Permit()
    later: asyncio.Future[Generation] = asyncio.get_running_loop().create_future()
    running = MergedGeneration([later], [permit], [1])
    await running.close()
    assert later.cancelled()
    assert permit.outcome == "client_gone"


async def test_a_failure_is_raised_every_time_it_is_asked() -> None:
    running, _ = merged(Stream(delta("a"), EngineFailed("x")), Stream())
    assert len(await asyncio.wait_for(running.next(), 1)) == 1
    for _ in range(3):
        with pytest.raises(EngineFailed):
            await asyncio.wait_for(running.next(), 1)


async def test_after_the_end_there_is_nothing() -> None:
    running, _ = merged(Stream(delta("a", "stop")), Stream(delta("b", "stop")))
    assert len([batch async for batch in running.events()]) == 2
    assert [list(await asyncio.wait_for(running.next(), 1)) for _ in range(2)] == [[], []]
