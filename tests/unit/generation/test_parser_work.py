"""The parser's work grows with the output and nothing else. Lines run and characters held are counted: no clock."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from server.generation.output_parser import OutputParser
from tests.unit.generation.parser_cases import OSLO, TOOLS, call

CODE = '    if a < b and s != "x":\n        total += values[index]  # once\n'
KINDS: dict[str, Callable[[int], str]] = {
    "string argument": lambda size: call("write_file", content=CODE * (size // len(CODE))),
    "object argument": lambda size: call("typed", object="[" + "1, " * (size // 3) + "1]"),
    "text": lambda size: "plain text, " * (size // 12),
    "whitespace": lambda size: "a" + " \n" * (size // 2) + "b",
    "calls": lambda size: OSLO * (size // len(OSLO)),
    "less-than": lambda size: "<" * size,
    "beginnings of a call": lambda size: "<tool_call>\n<function=" * (size // 22),
    "beginnings of closers": lambda size: call("write_file", content="\n</parameter>\n</func" * (size // 20)),
    "a closer and whitespace": lambda size: call("write_file", content="\n</parameter>" + " " * size),
    "an opener and whitespace": lambda size: "<tool_call>" + " " * size,
    "an endless name": lambda size: "<tool_call><function=" + "n" * size,
    "an endless parameter name": lambda size: "<tool_call><function=now><parameter=" + "n" * size,
}


def lines_run(raw: str, size: int) -> int:
    """How many lines of the parser run for `raw` in deltas of `size`."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if "generation" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        parser = OutputParser(thinking=False, tools=TOOLS)
        for at in range(0, len(raw), size):
            parser.feed(raw[at : at + size])
        parser.finish()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 4, 1_000_000])
def test_lines_per_token_do_not_grow(kind: str, size: int) -> None:
    few, many = (KINDS[kind](4 * tokens) for tokens in (250, 4000))
    assert lines_run(many, size) / len(many) <= 1.2 * lines_run(few, size) / len(few)


@pytest.mark.parametrize("kind", KINDS)
def test_little_is_held_back(kind: str) -> None:
    """What is scanned again with the next delta is bounded, so no line can hide work that grows."""
    parser = OutputParser(thinking=False, tools=TOOLS)
    held = 0
    for char in KINDS[kind](16_000):
        parser.feed(char)
        held = max(held, len(parser._buffer))
    assert held < 400
