"""Qwen3.5's output, delta by delta, as thinking, text and tool calls.

    thought</think>

    text<tool_call>
    <function=NAME>
    <parameter=KEY>
    VALUE
    </parameter>
    </function>
    </tool_call>

The parser reads text, not tokens, so it does not matter how the text was cut. Each character is looked at a bounded
number of times: what is held back is only what may be the beginning of a marker, at most `_HEADER_LIMIT` characters,
and runs of whitespace, which are not looked at again.

What a model should not write is read as follows. A `<tool_call>` that is not followed by `<function=NAME>` is text. One
inside thinking ends the thinking if NAME is one of the tools, else it is part of the thought. `<function=NAME>` without
`<tool_call>` is a call if NAME is one of the tools. A closer that is missing is implied by the next marker at the start
of a line, and by the end of the output: arguments are always whole JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from server.generation.events import (
    OutputEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
)
from server.generation.tool_arguments import ArgumentsWriter

THINK, END_THINK = "<think>", "</think>"
CALL, END_CALL = "<tool_call>", "</tool_call>"
FUNCTION, END_FUNCTION = "<function=", "</function>"
PARAMETER, END_PARAMETER = "<parameter=", "</parameter>"

_NAME_LIMIT = 256
_SPACE_LIMIT = 64
_HEADER_LIMIT = len(CALL) + _SPACE_LIMIT + len(FUNCTION) + _NAME_LIMIT + 1

_HEADER = re.compile(rf"(?:{CALL}\s{{0,{_SPACE_LIMIT}}})?{FUNCTION}([^<>\n]{{1,{_NAME_LIMIT}}})>")
_PARAMETER = re.compile(rf"{PARAMETER}([^<>\n]{{1,{_NAME_LIMIT}}})>")

# What a step returns: more can be done with what is held, or more input is needed first.
_GO, _WAIT = True, False


class OutputParser:
    """Reads one answer. `feed` every delta, then `finish`.

    `thinking` says whether the prompt ended inside an open `<think>`. `tools` maps each function's name to the JSON
    schema of its parameters; without tools, `<tool_call>` has no meaning and is text.
    """

    def __init__(self, *, thinking: bool, tools: Mapping[str, Mapping[str, Any]] | None) -> None:
        self._tools = tools or {}
        self._thinking = thinking
        self._step: Callable[[], bool] = self._at_start
        self._held = ""
        self._space: list[str] = []
        self._events: list[OutputEvent] = []
        self._calls = 0
        self._arguments: ArgumentsWriter | None = None
        self._in_value = False
        self._fresh_value = False
        self._text_began = False
        self._implied_end = False

    def feed(self, delta: str) -> list[OutputEvent]:
        """The events that this delta completes."""
        self._held = self._held + delta if self._held else delta
        while self._held and self._step():
            pass
        return self._drain()

    def finish(self) -> list[OutputEvent]:
        """The events of what is still held back: the output has ended. A call that was cut is closed."""
        if self._arguments is not None:
            # Held back inside a call is only the beginning of a marker, which the end of the output has cut.
            self._end_call()
        elif self._thinking:
            self._think(self._held)
        else:
            self._text(self._held)
            if self._text_began and not self._calls:
                self._events.append(TextDelta("".join(self._space)))
        self._held = ""
        self._space = []
        return self._drain()

    # Steps: each consumes from the front of what is held.

    def _at_start(self) -> bool:
        """An answer may open its thinking itself, where the template did not."""
        stripped = self._held.lstrip()
        if not stripped:
            self._space.append(self._take(-1))
            return _GO
        if stripped.startswith(THINK):
            self._held = stripped[len(THINK) :]
            self._space.clear()
            self._thinking = True
        elif THINK.startswith(stripped):
            return _WAIT
        self._step = self._in_thought if self._thinking else self._in_text
        return _GO

    def _in_thought(self) -> bool:
        at = self._held.find("<")
        if at != 0:
            self._think(self._take(at))
            return _GO
        if self._held.startswith(END_THINK):
            self._take(len(END_THINK))
            self._end_thinking()
            return _GO
        name = self._call_name()
        if name is not None and name in self._tools:
            self._end_thinking()
            self._implied_end = True
            return self._begin_call(name)
        if self._may_become(END_THINK) or (name is None and self._may_become_call()):
            return _WAIT
        self._think(self._take(1))
        return _GO

    def _in_text(self) -> bool:
        at = self._held.find("<")
        if at != 0:
            self._text(self._take(at))
            return _GO
        if self._implied_end and self._held.startswith(END_THINK):
            # The thinking that a call has ended is closed after all.
            self._take(len(END_THINK))
            self._implied_end = False
            return _GO
        name = self._call_name()
        if name is not None and (name in self._tools or self._held.startswith(CALL)):
            return self._begin_call(name)
        if (self._implied_end and self._may_become(END_THINK)) or (name is None and self._may_become_call()):
            return _WAIT
        self._text(self._take(1))
        return _GO

    def _between_parameters(self) -> bool:
        at = self._held.find("<")
        if at != 0:
            self._take(at)
            return _GO
        if (opened := _PARAMETER.match(self._held)) is not None:
            self._take(opened.end())
            self._writer.open_value(opened[1])
            self._in_value = self._fresh_value = True
            self._step = self._in_value_text
            return _GO
        for marker in (END_FUNCTION, END_CALL):
            if self._held.startswith(marker):
                self._take(len(marker))
                self._end_call()
                self._step = self._after_call
                return _GO
        if self._held.startswith((CALL, FUNCTION)):
            self._end_call()
            self._step = self._after_call
            return _GO
        if self._may_become(END_FUNCTION, END_CALL, CALL, FUNCTION) or self._may_become_header(PARAMETER):
            return _WAIT
        self._take(1)
        return _GO

    def _in_value_text(self) -> bool:
        if self._fresh_value:
            # The newline after the opener belongs to the markup.
            self._fresh_value = False
            self._held = self._held.removeprefix("\n")
            return _GO
        at = _value_end(self._held)
        if at:
            self._value(self._take(at))
            return _GO
        if self._held == "\n":
            return _WAIT
        own_line = self._held[0] == "\n"
        rest = self._held[own_line:]
        if rest.startswith(END_PARAMETER):
            self._take(own_line + len(END_PARAMETER))
            self._close_value()
            return _GO
        if own_line and (rest.startswith((END_FUNCTION, END_CALL)) or _PARAMETER.match(rest)):
            self._take(1)
            self._close_value()
            return _GO
        if _begins(rest, END_PARAMETER):
            return _WAIT
        if own_line and (_begins(rest, END_FUNCTION, END_CALL) or _may_be_header(rest, PARAMETER)):
            return _WAIT
        self._value(self._take(1 + own_line))
        return _GO

    def _after_call(self) -> bool:
        """Whitespace after a call is markup; so is the call's own closer."""
        stripped = self._held.lstrip()
        if not stripped:
            self._held = ""
            return _GO
        self._held = stripped
        for marker in (END_FUNCTION, END_CALL):
            if stripped.startswith(marker):
                self._take(len(marker))
                return _GO
        if self._may_become(END_FUNCTION, END_CALL):
            return _WAIT
        self._text_began = False
        self._step = self._in_text
        return _GO

    # What the steps are made of.

    def _take(self, count: int) -> str:
        """Removes and returns the first `count` held characters; all of them for a negative count."""
        taken = self._held if count < 0 else self._held[:count]
        self._held = "" if count < 0 else self._held[count:]
        return taken

    def _think(self, text: str) -> None:
        """Thought, without the newlines at its two ends."""
        self._trimmed(text, ReasoningDelta, "\n")

    def _text(self, text: str) -> None:
        """Visible text, without the newlines before it and the whitespace between it and a call."""
        self._trimmed(text, TextDelta, None)

    def _trimmed(self, text: str, kind: type[ReasoningDelta | TextDelta], trailing: str | None) -> None:
        body = text.rstrip(trailing)
        tail = text[len(body) :]
        if body:
            if self._space:
                body = "".join(self._space) + body
                self._space.clear()
            if not self._text_began:
                body = body.lstrip("\n")
                self._text_began = True
            self._events.append(kind(body))
        if tail:
            self._space.append(tail)

    def _end_thinking(self) -> None:
        self._thinking = self._text_began = False
        self._space.clear()
        self._step = self._in_text

    def _call_name(self) -> str | None:
        if not self._tools:
            return None
        header = _HEADER.match(self._held)
        return header[1] if header is not None else None

    def _begin_call(self, name: str) -> bool:
        header = _HEADER.match(self._held)
        assert header is not None
        self._take(header.end())
        self._space.clear()
        self._events.append(ToolCallStart(self._calls, name))
        self._arguments = ArgumentsWriter(self._tools.get(name))
        self._step = self._between_parameters
        return _GO

    @property
    def _writer(self) -> ArgumentsWriter:
        assert self._arguments is not None
        return self._arguments

    def _value(self, text: str) -> None:
        if text:
            self._writer.value(text)

    def _close_value(self) -> None:
        self._writer.close_value()
        self._in_value = False
        self._step = self._between_parameters

    def _end_call(self) -> None:
        if self._in_value:
            self._close_value()
        self._writer.close()
        self._flush_arguments()
        self._events.append(ToolCallEnd(self._calls))
        self._calls += 1
        self._arguments = None

    def _flush_arguments(self) -> None:
        if self._arguments is not None and (piece := self._arguments.drain()):
            self._events.append(ToolCallArguments(self._calls, piece))

    def _may_become(self, *markers: str) -> bool:
        return _begins(self._held, *markers)

    def _may_become_header(self, opener: str) -> bool:
        return _may_be_header(self._held, opener)

    def _may_become_call(self) -> bool:
        if not self._tools or len(self._held) > _HEADER_LIMIT:
            return False
        rest = self._held
        if rest.startswith(CALL):
            rest = rest[len(CALL) :].lstrip()
            if len(self._held) - len(CALL) - len(rest) > _SPACE_LIMIT:
                return False
        elif _begins(rest, CALL):
            return True
        return not rest or _may_be_header(rest, FUNCTION)

    def _drain(self) -> list[OutputEvent]:
        self._flush_arguments()
        events, self._events = self._events, []
        return _merged(events)


def _begins(text: str, *markers: str) -> bool:
    """Whether `text` is the beginning of a marker, but not the whole of it."""
    return any(len(text) < len(marker) and marker.startswith(text) for marker in markers)


def _may_be_header(text: str, opener: str) -> bool:
    """Whether `text` may grow into `opener`NAME>."""
    if not text.startswith(opener):
        return _begins(text, opener)
    name = text[len(opener) :]
    return len(name) <= _NAME_LIMIT and not any(char in "<>\n" for char in name)


def _value_end(text: str) -> int:
    """Where in a value's text something may end it: at a `<`, with the newline before it, or at a last newline."""
    at = text.find("<")
    if at > 0:
        return at - 1 if text[at - 1] == "\n" else at
    if at < 0:
        return len(text) - 1 if text.endswith("\n") else len(text)
    return 0


def _merged(events: list[OutputEvent]) -> list[OutputEvent]:
    """Neighbours of one kind as one; empty ones dropped."""
    merged: list[OutputEvent] = []
    for event in events:
        last = merged[-1] if merged else None
        if isinstance(event, TextDelta | ReasoningDelta):
            if not event.text:
                continue
            if isinstance(last, TextDelta | ReasoningDelta) and type(last) is type(event):
                merged[-1] = type(event)(last.text + event.text)
                continue
        elif isinstance(event, ToolCallArguments) and isinstance(last, ToolCallArguments):
            merged[-1] = ToolCallArguments(event.index, last.fragment + event.fragment)
            continue
        merged.append(event)
    return merged
