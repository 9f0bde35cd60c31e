"""The parser's one promise: however the output is cut into deltas, a client is told the same, and it is right."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.generation.events import ReasoningDelta, TextDelta, ToolCallArguments, ToolCallEnd, ToolCallStart
from server.generation.output_parser import OutputParser
from tests.unit.generation.parser_cases import CASES, OSLO, TOOLS, Case, call
from tests.unit.generation.parser_reading import Answer, answer, batches

Tools = Mapping[str, Mapping[str, Any]]

# Longer outputs are cut at places drawn by chance, the same in every run.
WHOLLY_CUT = 120
DRAWN = 200

by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def expected(case: Case) -> Answer:
    return Answer(case.reasoning, case.content, list(case.calls))


def read(case: Case, pieces: list[str]) -> Answer:
    return answer(pieces, thinking=case.thinking, tools=case.tools)


def cut(text: str, *places: int) -> list[str]:
    return [text[start:end] for start, end in pairwise((0, *sorted(places), len(text)))]


def pairs_of_places(length: int) -> Iterator[tuple[int, int]]:
    if length <= WHOLLY_CUT:
        for first in range(length + 1):
            for second in range(first, length + 1):
                yield first, second
    else:
        chance = random.Random(length)
        for _ in range(DRAWN):
            yield chance.randint(0, length), chance.randint(0, length)


def test_the_cases_have_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 45


@by_name
def test_whole(case: Case) -> None:
    assert read(case, [case.raw]) == expected(case)


@by_name
def test_one_character_at_a_time(case: Case) -> None:
    assert read(case, list(case.raw)) == expected(case)


@by_name
def test_in_two_pieces(case: Case) -> None:
    length = len(case.raw)
    places = range(length + 1) if length <= 2000 else sorted(random.Random(length).sample(range(length + 1), DRAWN))
    for place in places:
        assert read(case, cut(case.raw, place)) == expected(case), f"cut at {place}"


@by_name
def test_in_three_pieces(case: Case) -> None:
    for places in pairs_of_places(len(case.raw)):
        assert read(case, cut(case.raw, *places)) == expected(case), f"cut at {places}"


@by_name
def test_a_calls_arguments_are_a_json_object(case: Case) -> None:
    for _, arguments in read(case, [case.raw]).calls:
        assert isinstance(json.loads(arguments), dict)
        arguments.encode()


@given(case=st.sampled_from([case for case in CASES if len(case.raw) < 2000]), data=st.data())
@settings(max_examples=400, deadline=None)
def test_in_pieces_of_any_size(case: Case, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, len(case.raw)), max_size=20))
    assert read(case, cut(case.raw, *places)) == expected(case)


FRAGMENTS = [
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "</function>", "</parameter>", "<parameter=", "<function="),
    *("<function=now>", "<function=typed>", "<function=write_file>", "<function=other>"),
    *("<parameter=content>", "<parameter=path>", "<parameter=integer>", "<parameter=object>", "<parameter=optional>"),
    *("\n", "\n\n", " ", "<", "</", ">", '"', "\\", "{", "}", "5", "null", "a", "text", "é", "\x01", "👋", "\ud800"),
]
FRAGMENTED = st.lists(st.sampled_from(FRAGMENTS), max_size=40)


@given(
    fragments=FRAGMENTED,
    thinking=st.booleans(),
    tools=st.sampled_from([TOOLS, None]),
    data=st.data(),
)
@settings(max_examples=1500, deadline=None)
def test_any_mixture_of_markup(fragments: list[str], thinking: bool, tools: Tools | None, data: st.DataObject) -> None:
    raw = "".join(fragments)
    whole = answer([raw], thinking=thinking, tools=tools)
    assert answer(list(raw), thinking=thinking, tools=tools) == whole
    places = data.draw(st.lists(st.integers(0, len(raw)), max_size=8))
    assert answer(cut(raw, *places), thinking=thinking, tools=tools) == whole
    for _, arguments in whole.calls:
        assert isinstance(json.loads(arguments), dict)
        arguments.encode()
    if tools is None:
        assert not whole.calls


@given(text=st.text(), thinking=st.booleans(), tools=st.sampled_from([TOOLS, None]), data=st.data())
@settings(max_examples=300, deadline=None)
def test_prose_without_markers_is_kept_to_the_character(
    text: str, thinking: bool, tools: Tools | None, data: st.DataObject
) -> None:
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    told = answer(cut(text, *places), thinking=thinking, tools=tools)
    # Newlines right after `<think>` are markup.
    assert told == (Answer(reasoning=text.lstrip("\n")) if thinking else Answer(content=text))


@given(content=st.text(), size=st.integers(1, 9))
@settings(max_examples=300, deadline=None)
def test_a_string_argument_is_kept_to_the_character(content: str, size: int) -> None:
    raw = call("write_file", content=content)
    told = answer([raw[at : at + size] for at in range(0, len(raw), size)], thinking=False, tools=TOOLS)
    assert [name for name, _ in told.calls] == ["write_file"]
    assert json.loads(told.calls[0][1]) == {"content": content}


def test_events_come_as_soon_as_they_are_certain() -> None:
    pieces = [
        "Hm",
        ".\n</think>",
        "\n\n",
        "I ",
        "see",
        OSLO[: OSLO.index("\n<parameter")],
        "\n<parameter=city>\nOs",
        "lo",
        "\n</parameter>\n</function>",
        "\n</tool_call>",
    ]
    assert batches(pieces, thinking=True, tools=TOOLS) == [
        [ReasoningDelta("Hm")],
        [ReasoningDelta(".")],
        [],
        [TextDelta("I")],
        [TextDelta(" see")],
        [ToolCallStart(0, "get_weather")],
        [ToolCallArguments(0, '{"city": "Os')],
        [ToolCallArguments(0, "lo")],
        [ToolCallArguments(0, '"}'), ToolCallEnd(0)],
        [],
        [],
    ]


def test_one_delta_may_hold_everything() -> None:
    assert OutputParser(thinking=True, tools=TOOLS).feed(f"Hm.\n</think>\n\nSo.\n{OSLO}\n{call('now')}\nDone.") == [
        ReasoningDelta("Hm."),
        TextDelta("So."),
        ToolCallStart(0, "get_weather"),
        ToolCallArguments(0, '{"city": "Oslo"}'),
        ToolCallEnd(0),
        ToolCallStart(1, "now"),
        ToolCallArguments(1, "{}"),
        ToolCallEnd(1),
        TextDelta("\n\n\nDone."),
    ]
