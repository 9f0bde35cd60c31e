"""Qwen3.5's output, delta by delta, as thinking, text and tool calls.

    thought</think>

    text<tool_call>
    <function=NAME>
    <parameter=KEY>
    VALUE
    </parameter>
    </function>
    </tool_call>

The parser reads text, not tokens, so it does not matter how the text was cut. It never goes back to what it has given
out; it holds back runs of whitespace and what may be the beginning of a marker, so its work per character is constant.

What a model should not write is read as follows:

- A `<tool_call>` that is not followed by `<function=NAME>` is text. One inside thinking ends the thinking if NAME is
  one of the tools, else it is part of the thought. In the answer NAME need not be known: what to say to a call of an
  unknown function is the client's decision. There, `<function=NAME>` without `<tool_call>` is a call if it is known.
- `</think>` is dropped before anything visible has come, and once after a call has ended the thinking; else it is text.
- A value ends at `</parameter>` only if markup follows, so a value may hold `<parameter>x</parameter>`. Where it is
  missing, the value ends at a line that begins with `<parameter=KEY>`, or where the closers of the call end the output
  or come before another call.
- Whatever else stands between the parts of a call is dropped: it has no place in JSON.
- Where the output ends inside a call, the call is closed so that its arguments are whole JSON; see `ArgumentsWriter`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
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

_NAME = re.compile(r"[^<>\n]{0,256}")
_SPACE = re.compile(r"\s*")
# How much whitespace after a closer is looked past to see whether markup follows; after more, it does.
_SPACE_LIMIT = 64
_SPACE_RUN = re.compile(rf"\s{{0,{_SPACE_LIMIT}}}")

_IN_CALL = (PARAMETER, END_FUNCTION, END_CALL, CALL, FUNCTION)
_IN_VALUE = (PARAMETER, END_PARAMETER, END_FUNCTION, END_CALL)
# What must come after a closer (or the output must end) for it to end a value.
_AFTER = {
    END_PARAMETER: _IN_CALL,
    END_FUNCTION: (END_CALL, CALL),
    END_CALL: (CALL,),
}


@cache
def _finder(markers: tuple[str, ...]) -> tuple[Callable[[str, int], re.Match[str] | None], frozenset[str], int]:
    """What finds the next of some markers, their beginnings, and the length of the longest of these."""
    beginnings = frozenset(marker[:end] for marker in markers for end in range(1, len(marker)))
    pattern = re.compile("|".join(map(re.escape, markers)) or r"(?!)")
    return pattern.search, beginnings, max(map(len, beginnings), default=0)


class OutputParser:
    """Reads one answer. `feed` every delta, then `finish`.

    `thinking` says whether the prompt ended inside an open `<think>`. `tools` maps each function's name to the JSON
    schema of its parameters; without tools, `<tool_call>` has no meaning and is text.
    """

    def __init__(self, *, thinking: bool, tools: Mapping[str, Mapping[str, Any]] | None) -> None:
        self._tools = tools or {}
        self._step: Callable[[], bool] = self._at_start
        self._buffer = ""
        self._at = 0
        self._final = False
        # What is given out: pieces of one kind, until another kind begins.
        self._events: list[OutputEvent] = []
        self._pieces: list[str] = []
        self._kind: type[ReasoningDelta | TextDelta | ToolCallArguments] = TextDelta
        # Prose, thought or text: `_lead` is stripped before it has begun, `_trail` held in `_space` until it goes on.
        self._thinking = thinking
        self._lead: str | None = "\n" if thinking else ""
        self._trail: str | None = "\n" if thinking else None
        self._space: list[str] = []
        self._space_before = 0
        self._begun = self._visible = False
        # Closers without an opener are dropped while it is `_quiet`, before text comes; those `_owed`, anywhere.
        self._quiet = True
        self._owed: tuple[str, ...] = ()
        # In the middle of a thought or a text that has begun.
        self._in_prose = False
        # The call: how it was opened, while that is not certain; its arguments; its index.
        self._opener: list[str] = []
        self._writers: dict[str, ArgumentsWriter] = {}
        self._writer = ArgumentsWriter(None)
        self._value_opens = self._value_begun = False
        self._calls = 0

    def feed(self, delta: str) -> list[OutputEvent]:
        """The events that this delta completes."""
        # Most tokens are prose in the middle of prose, and no marker begins in them.
        quiet = not self._buffer and not self._space
        if self._in_prose and quiet and delta and "<" not in delta and not delta[-1].isspace():
            return [ReasoningDelta(delta) if self._thinking else TextDelta(delta)]
        self._buffer = self._buffer + delta if self._buffer else delta
        self._run()
        return self._drain()

    def finish(self) -> list[OutputEvent]:
        """The events of what is still held back: the output has ended. A call that was cut is closed."""
        self._final = True
        self._run()
        if self._opener:
            self._not_a_call()
            self._run()
        if self._step in (self._in_call, self._in_value):
            self._end_call()
        elif self._thinking or not self._calls:
            space = "".join(self._space)
            self._put(
                ReasoningDelta if self._thinking else TextDelta, space if self._begun else space.lstrip(self._lead)
            )
        return self._drain()

    def _run(self) -> None:
        while self._at < len(self._buffer) and self._step():
            pass
        self._buffer = self._buffer[self._at :]
        self._at = 0

    # Steps: each consumes from the buffer, and tells whether to go on or to wait for more.

    def _at_start(self) -> bool:
        """An answer may open its thinking itself, where the template did not."""
        self._space.append(self._take(self._past_space()))
        if self._at == len(self._buffer) or (self._cut(self._at, (THINK,)) and not self._final):
            return False
        space = "".join(self._space)
        self._space.clear()
        if self._buffer.startswith(THINK, self._at):
            self._at += len(THINK)
            self._thinking, self._lead, self._trail = True, "\n", "\n"
        else:
            self._write(space)
        self._step = self._in_thought if self._thinking else self._in_text
        return True

    def _in_thought(self) -> bool:
        marker = self._write_to((END_THINK, CALL) if self._tools else (END_THINK,))
        if marker == END_THINK:
            self._at += len(marker)
            self._end_thinking()
        elif marker:
            self._open(marker)
        return bool(marker)

    def _in_text(self) -> bool:
        strays = self._strays()
        marker = self._write_to((CALL, FUNCTION, *strays) if self._tools else strays)
        if marker in (CALL, FUNCTION):
            self._open(marker)
        elif marker in self._strays():
            self._at += len(marker)
            self._owed = tuple(each for each in self._owed if each != marker)
            if self._quiet:
                del self._space[self._space_before :]
            if not self._calls:
                self._end_thinking()
        # Else text has come just before this closer, so it is no longer a stray: the next step writes it.
        return bool(marker)

    def _in_opener(self) -> bool:
        self._opener.append(self._take(self._past_space()))
        if self._at == len(self._buffer) or (self._cut(self._at, (FUNCTION,)) and not self._final):
            return False
        if self._buffer.startswith(FUNCTION, self._at):
            self._open(FUNCTION)
        else:
            self._not_a_call()
        return True

    def _in_name(self) -> bool:
        end = self._name_end(self._at)
        if end < 0:
            return False
        name = self._buffer[self._at : end].strip()
        known_only = self._thinking or self._opener[0] == FUNCTION
        if self._buffer[end] != ">" or not name or (known_only and name not in self._tools):
            self._not_a_call()
        else:
            self._at = end + 1
            self._begin_call(name)
        return True

    def _in_call(self) -> bool:
        """Between the parameters."""
        self._at, marker = self._next(_IN_CALL)
        if marker == PARAMETER:
            start = self._at + len(PARAMETER)
            end = self._name_end(start)
            if end < 0:
                return False
            self._at = start
            if self._buffer[end] == ">":
                self._put(ToolCallArguments, self._writer.open(self._take(end).strip()))
                self._at += 1
                self._value_opens, self._value_begun = True, False
                self._step = self._in_value
        elif marker:
            if marker in (END_FUNCTION, END_CALL):
                self._at += len(marker)
            if marker == END_FUNCTION:
                self._owed = (*self._owed, END_CALL)
            self._end_call()
        return bool(marker)

    def _in_value(self) -> bool:
        if self._value_opens and self._buffer[self._at] == "\n":
            # The newline after the opener is markup, as is the one before the closer.
            self._at += 1
        self._value_opens = False
        at, marker = self._next(_IN_VALUE)
        newline = at > self._at and self._buffer[at - 1] == "\n"
        self._value(at - newline)
        ends = self._ends_value(at, marker, own_line=newline or not self._value_begun)
        if ends:
            self._put(ToolCallArguments, self._writer.close())
            self._at = at + len(marker) if marker == END_PARAMETER else at
            self._step = self._in_call
        elif ends is False:
            self._value(at + max(len(marker), 1))
        return ends is not None

    # What the steps are made of.

    def _next(self, markers: tuple[str, ...]) -> tuple[int, str]:
        """Where the next marker is, and which; without one, where its beginning is or the buffer ends, and nothing."""
        search, beginnings, longest = _finder(markers)
        buffer = self._buffer
        if (found := search(buffer, self._at)) is not None:
            return found.start(), found[0]
        tail = buffer.rfind("<", max(self._at, len(buffer) - longest))
        return (tail if tail >= 0 and buffer[tail:] in beginnings else len(buffer)), ""

    def _cut(self, at: int, markers: tuple[str, ...]) -> bool:
        """Whether the buffer ends within what may become one of the markers."""
        _, beginnings, longest = _finder(markers)
        return len(self._buffer) - at <= longest and self._buffer[at:] in beginnings

    def _take(self, end: int) -> str:
        start, self._at = self._at, end
        return self._buffer[start:end]

    def _past_space(self) -> int:
        space = _SPACE.match(self._buffer, self._at)
        return space.end() if space else self._at

    def _name_end(self, start: int) -> int:
        """Where a name that begins here ends, -1 if the buffer ends first."""
        name = _NAME.match(self._buffer, start)
        return name.end() if name and name.end() < len(self._buffer) else -1

    def _ends_value(self, at: int, marker: str, *, own_line: bool) -> bool | None:
        """Whether the marker at `at` ends the value; None if that is not known yet."""
        undecided = True if self._final else None
        if not marker:
            # At the very end, what looks like the beginning of a marker is one that was cut, but a `<` may be anything.
            tail = self._buffer[at:]
            return undecided and (len(tail) > 1 and (own_line or tail[1] == "/") if tail else None)
        after = at + len(marker)
        if marker == PARAMETER:
            end = self._name_end(after)
            return own_line and (undecided if end < 0 else self._buffer[end] == ">")
        follows = _SPACE_RUN.match(self._buffer, after)
        to = follows.end() if follows else after
        if self._buffer.startswith(_AFTER[marker], to) or to - after == _SPACE_LIMIT:
            return True
        return undecided if to == len(self._buffer) or self._cut(to, _AFTER[marker]) else False

    def _value(self, end: int) -> None:
        if text := self._take(end):
            self._value_begun = True
            self._put(ToolCallArguments, self._writer.value(text))

    def _strays(self) -> tuple[str, ...]:
        if not self._quiet:
            return self._owed
        return (END_THINK, END_FUNCTION, END_CALL) if self._calls else (END_THINK,)

    def _write_to(self, markers: tuple[str, ...]) -> str:
        """Writes the prose before the next marker, and tells which that is."""
        at, marker = self._next(markers)
        self._write(self._take(at))
        if self._final and not marker:
            rest = self._take(len(self._buffer))
            if not (self._calls and len(rest) > 1 and any(each.startswith(rest) for each in self._strays())):
                self._write(rest)
        return marker

    def _write(self, text: str) -> None:
        """Gives out prose; what `_lead` and `_trail` name is stripped or held back."""
        if not self._begun:
            text = text.lstrip(self._lead)
            self._begun = bool(text)
        body = text.rstrip(self._trail)
        if body:
            self._visible, self._quiet = True, False
            self._in_prose = True
            kind = ReasoningDelta if self._thinking else TextDelta
            for space in self._space:
                self._put(kind, space)
            self._space.clear()
            self._put(kind, body)
        if len(body) < len(text):
            self._space.append(text[len(body) :])

    def _end_thinking(self) -> None:
        self._thinking, self._lead, self._trail = False, "\n", None
        self._begun, self._visible, self._quiet = False, False, True
        self._in_prose = False
        self._space.clear()
        self._step = self._in_text

    def _open(self, marker: str) -> None:
        self._at += len(marker)
        self._opener.append(marker)
        self._in_prose = False
        self._step = self._in_opener if marker == CALL else self._in_name

    def _not_a_call(self) -> None:
        opener = "".join(self._opener)
        self._opener.clear()
        self._step = self._in_thought if self._thinking else self._in_text
        self._write(opener)

    def _begin_call(self, name: str) -> None:
        self._opener.clear()
        self._owed = tuple(each for each in self._owed if each == END_THINK)
        if self._thinking:
            self._end_thinking()
            self._owed = (END_THINK,)
        if not self._visible:
            # No text yet: whitespace around the calls is markup. After text, it separates that from what may follow.
            self._space.clear()
            self._begun, self._lead = False, None
        self._flush()
        self._events.append(ToolCallStart(self._calls, name))
        if name not in self._writers:
            self._writers[name] = ArgumentsWriter(self._tools.get(name))
        self._writer = self._writers[name]
        self._step = self._in_call

    def _end_call(self) -> None:
        if self._step == self._in_value:
            self._put(ToolCallArguments, self._writer.cut())
        self._put(ToolCallArguments, self._writer.end())
        self._flush()
        self._events.append(ToolCallEnd(self._calls))
        self._calls += 1
        self._quiet, self._space_before = True, len(self._space)
        self._in_prose = False
        self._step = self._in_text

    def _put(self, kind: type[ReasoningDelta | TextDelta | ToolCallArguments], text: str) -> None:
        if text:
            if kind is not self._kind:
                self._flush()
                self._kind = kind
            self._pieces.append(text)

    def _flush(self) -> None:
        if self._pieces:
            text = self._pieces[0] if len(self._pieces) == 1 else "".join(self._pieces)
            self._pieces.clear()
            if self._kind is ToolCallArguments:
                self._events.append(ToolCallArguments(self._calls, text))
            else:
                self._events.append(TextDelta(text) if self._kind is TextDelta else ReasoningDelta(text))

    def _drain(self) -> list[OutputEvent]:
        self._flush()
        events, self._events = self._events, []
        return events
