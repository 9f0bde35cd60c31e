"""Bytes of a fuzzer as choices, so that a change of one byte is a change of one choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

Choice = TypeVar("Choice")

WORDS = (
    *("", "a", " ", "\n", "\x00", "\ud800", "é🙂", "{", "}", '"', "\\", "{{ x }}", "{% if %}", "1", "-1", "NaN"),
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "<function=f>", "<function=", "</function>"),
    *("<parameter=a>", "</parameter>", "<tool_response>", "<|im_end|>", "text", "user", "assistant", "tool", "system"),
    *("x-anthropic-billing-header: cch=1", "data:image/png;base64,AAAA", "x" * 300, "[" * 50, '{"a": 1}', "true"),
)
NUMBERS = (0, 1, -1, 2, 7, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308)


class Bytes:
    """Gives out the bytes in their order, and zeros after the last."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes that were not given out yet."""
        return max(0, len(self._data) - self._at)

    def byte(self) -> int:
        """The next one."""
        value = self._data[self._at] if self._at < len(self._data) else 0
        self._at += 1
        return value

    def below(self, count: int) -> int:
        """A number from 0 to `count` - 1."""
        return self.byte() % count

    def one_of(self, choices: Sequence[Choice]) -> Choice:
        """One of the choices, of which there are at most 256."""
        return choices[self.below(len(choices))]

    def text(self) -> str:
        """Up to four words, or letters."""
        return "".join(self.one_of(WORDS) if self.below(4) else chr(self.byte()) for _ in range(self.below(5)))

    def value(self, depth: int = 4) -> Any:
        """Any JSON value."""
        kind = self.below(8 if depth else 6)
        if kind == 0:
            return None
        if kind == 1:
            return bool(self.below(2))
        if kind == 2:
            return self.one_of(NUMBERS)
        if kind < 6:
            return self.text()
        if kind == 6:
            return [self.value(depth - 1) for _ in range(self.below(4))]
        return {self.text(): self.value(depth - 1) for _ in range(self.below(4))}
