"""The life of a generation over a scripted stream: pure policy, no engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server.generation.errors import EngineDied, EngineFailed, Interrupted
from server.generation.events import OutputEvent, ReasoningDelta, TextDelta, ToolCallStart
from server.generation.generation import Generation
from server.generation.output_parser import OutputParser
from server.generation.ports import EngineDelta, Prompt

THINK_END = 99
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


class ScriptedStream:
    def __init__(self, script: list[EngineDelta | Exception]) -> None:
        self.script = list(script)
        self.closed = 0

    async def next(self) -> list[EngineDelta]:
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return [step]

    def interrupt(self, error: Exception) -> None:
        self.script.insert(0, error)

    async def close(self) -> None:
        self.closed += 1


class RecordingPermit:
    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.tokens: list[int] = []

    def made(self, tokens: int, cached: int) -> None:
        self.tokens.append(tokens)

    def on_interrupt(self, interrupt: Callable[[Exception], None]) -> None:
        raise AssertionError("the pipeline registers, not the generation")

    def end(self, outcome: str) -> None:
        self.outcomes.append(outcome)


def delta(text: str, tokens: list[int], finish: str | None = None, cached: int = 0) -> EngineDelta:
    return EngineDelta(text, tokens, finish, cached)


def generation(
    script: list[EngineDelta | Exception], *, thinking: bool = True, answers: int = 1
) -> tuple[Generation, RecordingPermit]:
    permit = RecordingPermit()
    prompt = Prompt(engine_input=None, tokens=10, thinking=thinking)
    running = Generation(
        ScriptedStream(script),
        lambda: OutputParser(thinking=thinking, tools={"get_weather": SCHEMA}),
        permit,
        prompt,
        THINK_END,
        answers=answers,
    )
    return running, permit


async def everything(running: Generation) -> list[OutputEvent]:
    return [event async for batch in running.events() for event in batch.events]


async def test_answers_beside_each_other_do_not_mix() -> None:
    script: list[EngineDelta | Exception] = [
        EngineDelta("a</think>one", [1, THINK_END, 2], None, 0, answer=0),
        EngineDelta("b", [3], None, 0, answer=1),
        EngineDelta("", [4], "length", 0, answer=0),
        EngineDelta("c</think>two", [5, THINK_END, 6], "stop", 0, answer=1),
    ]
    running, permit = generation(script, answers=2)
    batches = [batch async for batch in running.events()]
    texts = ["", ""]
    for batch in batches:
        texts[batch.answer] += "".join(event.text for event in batch.events if isinstance(event, TextDelta))
    assert texts == ["one", "two"]
    assert running.finish_reasons == ["length", "stop"]
    assert [batch.finish_reason for batch in batches] == [None, None, "length", "stop"]
    assert (running.usage.completion, running.usage.reasoning) == (8, 3)
    assert permit.outcomes == ["length"]


async def test_events_usage_and_outcome_of_a_thinking_answer() -> None:
    running, permit = generation(
        [
            delta("hm", [1, 2], cached=4),
            delta("\n</think>\n\n", [3, THINK_END, 4]),
            delta("7", [5]),
            delta("", [6], finish="stop"),
        ]
    )
    events = await everything(running)
    assert "".join(event.text for event in events if isinstance(event, ReasoningDelta)) == "hm"
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "7"
    assert running.finish_reasons[0] == "stop"
    usage = running.usage
    assert (usage.prompt, usage.cached, usage.completion, usage.reasoning) == (10, 4, 7, 3)
    assert permit.outcomes == ["stop"]


async def test_without_thinking_no_token_counts_as_reasoning() -> None:
    running, _ = generation([delta("7", [1]), delta("", [2], finish="length")], thinking=False)
    await everything(running)
    assert (running.usage.reasoning, running.finish_reasons[0]) == (0, "length")


async def test_a_call_inside_the_thinking_ends_it() -> None:
    call = "<tool_call>\n<function=get_weather>\n<parameter=city>\n"
    running, _ = generation([delta("hm", [1]), delta(call, [2]), delta("Oslo", [3, 4]), delta("", [5], finish="stop")])
    await everything(running)
    assert running.usage.reasoning == 2


async def test_a_tool_call_finishes_as_tool_calls_but_a_cut_one_as_length() -> None:
    call = "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>"
    for reason, expected in (("stop", "tool_calls"), ("length", "length")):
        running, permit = generation([delta(call, [1], finish=reason)], thinking=False)
        assert any(isinstance(event, ToolCallStart) for event in await everything(running))
        assert running.finish_reasons[0] == expected
        assert permit.outcomes == [expected]


@pytest.mark.parametrize(
    ("step", "raised", "outcome"),
    [
        (EngineDied("x"), EngineDied, "engine_dead"),
        (EngineFailed("x"), EngineFailed, "engine_error"),
        (Interrupted("x"), Interrupted, "interrupted"),
        (delta("", [], finish="abort"), Interrupted, "interrupted"),
        (delta("", [], finish="error"), EngineFailed, "engine_error"),
    ],
)
async def test_what_ends_it_early_is_its_outcome(
    step: EngineDelta | Exception, raised: type[Exception], outcome: str
) -> None:
    running, permit = generation([delta("a", [1]), step])
    with pytest.raises(raised):
        await everything(running)
    assert permit.outcomes == [outcome]
    assert running.finish_reasons[0] is None


async def test_closing_frees_the_engine_and_the_permit() -> None:
    running, permit = generation([delta("a", [1])])
    await running.close()
    assert permit.outcomes == ["client_gone"]


class SeveralAtOnce(ScriptedStream):
    """Gives all that is left in one go, as a stream does whose reader lags."""

    async def next(self) -> list[EngineDelta]:
        assert self.script, "asked again after its end"
        given, self.script = self.script, []
        return [each for each in given if isinstance(each, EngineDelta)]


@pytest.mark.parametrize(("reason", "raised"), [("abort", Interrupted), ("error", EngineFailed)])
@pytest.mark.parametrize("before", [0, 2])
async def test_what_came_before_a_failure_stands_and_then_it_is_raised_every_time(
    reason: str, raised: type[Exception], before: int
) -> None:
    running, permit = generation([])
    running._stream = SeveralAtOnce([*(delta("a", [1]) for _ in range(before)), delta("", [], finish=reason)])
    if before:
        assert [batch.token_ids for batch in await running.next()] == [[1]] * before
    for _ in range(3):
        with pytest.raises(raised):
            await running.next()
    assert permit.outcomes[0] == raised("").outcome  # type: ignore[attr-defined]


async def test_after_the_end_there_is_nothing() -> None:
    running, permit = generation([delta("a", [1], finish="stop")], thinking=False)
    assert len(await running.next()) == 1
    assert [list(await running.next()) for _ in range(2)] == [[], []]
    assert permit.outcomes == ["stop"]
