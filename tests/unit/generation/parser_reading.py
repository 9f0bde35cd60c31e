"""Feeding a parser, and adding up what it says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from server.generation.events import (
    OutputEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
)
from server.generation.output_parser import OutputParser


@dataclass
class Answer:
    """What a client has at the end."""

    reasoning: str = ""
    content: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)


def batches(
    pieces: Iterable[str], *, thinking: bool, tools: Mapping[str, Mapping[str, Any]] | None
) -> list[list[OutputEvent]]:
    parser = OutputParser(thinking=thinking, tools=tools)
    return [*(parser.feed(piece) for piece in pieces), parser.finish()]


def answer(pieces: Iterable[str], *, thinking: bool, tools: Mapping[str, Mapping[str, Any]] | None) -> Answer:
    """The sum of the events; also checks what holds for every list of them."""
    total = Answer()
    open_call = False
    for batch in batches(pieces, thinking=thinking, tools=tools):
        last: OutputEvent | None = None
        for event in batch:
            if isinstance(event, ReasoningDelta):
                assert event.text
                assert not total.content
                assert not total.calls
                total.reasoning += event.text
            elif isinstance(event, TextDelta):
                assert event.text
                assert not open_call
                total.content += event.text
            elif isinstance(event, ToolCallStart):
                assert not open_call
                assert event.index == len(total.calls)
                total.calls.append((event.name, ""))
                open_call = True
            else:
                assert open_call
                assert event.index == len(total.calls) - 1
                if isinstance(event, ToolCallArguments):
                    assert event.fragment
                    name, arguments = total.calls[-1]
                    total.calls[-1] = (name, arguments + event.fragment)
                else:
                    assert isinstance(event, ToolCallEnd)
                    open_call = False
            if isinstance(event, ReasoningDelta | TextDelta | ToolCallArguments):
                assert type(event) is not type(last), "neighbours of one kind are one"
            last = event
    assert not open_call
    return total
