"""The conversation as Qwen's chat template wants it: plain dictionaries in OpenAI's shape, with its quirks met."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from server.generation.conversation import Conversation, ImagePart, Message, TextPart, VideoPart
from server.generation.ports import DecodedImage, DecodedVideo

Decoded = Mapping[ImagePart | VideoPart, DecodedImage | DecodedVideo]


# In which lines are looked for, all system text together, and how much of each.
_MOST_LINES = 1024
_LINE_LENGTH = 1024


def template_messages(
    conversation: Conversation, media: Decoded, stripped_lines: Sequence[re.Pattern[str]] = ()
) -> list[dict[str, Any]]:
    """Messages for the chat template, each image or video part replaced by what was decoded from it.

    Qwen3.5's template refuses a system message anywhere but first, and more than one; clients send both. All system
    text is therefore merged, in order, into one leading message. Of its first 1,024 lines those are left out that begin
    with one of `stripped_lines`: what changes with every request would make all that follows new to the prefix cache.
    """
    strip = _Stripper(stripped_lines)
    system = [_text(message, strip) for message in conversation.messages if message.role == "system"]
    rest = [_message(message, media) for message in conversation.messages if message.role != "system"]
    merged = "\n\n".join(text for text in system if text)
    return [{"role": "system", "content": merged}, *rest] if merged else rest


class _Stripper:
    """Leaves lines out, of a bounded number: this runs on the event loop, over text of any size."""

    def __init__(self, patterns: Sequence[re.Pattern[str]]) -> None:
        self._patterns = patterns
        self._left = _MOST_LINES if patterns else 0

    def __call__(self, text: str) -> str | None:
        """The text without those lines; None where nothing else was in it."""
        if not self._left:
            return text
        lines = text.split("\n", self._left)
        looked_at = lines[: self._left]
        self._left -= len(looked_at)
        kept = [line for line in looked_at if not self._taken(line)]
        if len(kept) == len(looked_at):
            return text
        return "\n".join(kept + lines[len(looked_at) :]) if kept or len(lines) > len(looked_at) else None

    def _taken(self, line: str) -> bool:
        return any(pattern.match(line, 0, _LINE_LENGTH) for pattern in self._patterns)


def _text(message: Message, strip: _Stripper) -> str:
    if isinstance(message.content, str):
        return strip(message.content) or ""
    texts = [strip(part.text) for part in message.content if isinstance(part, TextPart)]
    return "\n".join(text for text in texts if text is not None)


def _message(message: Message, media: Decoded) -> dict[str, Any]:
    out: dict[str, Any] = {"role": message.role, "content": _content(message, media)}
    if message.role == "assistant":
        # Also where there was none: without it, the template would look for thinking in the text and lose some of it.
        out["reasoning"] = message.reasoning or ""
    if message.tool_calls:
        out["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        out["tool_call_id"] = message.tool_call_id
    return out


def _content(message: Message, media: Decoded) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return message.content
    parts: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, TextPart):
            parts.append({"type": "text", "text": part.text})
        else:
            kind = "video" if isinstance(part, VideoPart) else "image"
            parts.append({"type": kind, kind: media[part]})
    return parts
