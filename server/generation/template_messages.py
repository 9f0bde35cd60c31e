"""The conversation as Qwen's chat template wants it: plain dictionaries in OpenAI's shape, with its quirks met."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.generation.conversation import Conversation, ImagePart, Message, TextPart, VideoPart
from server.generation.ports import DecodedImage, DecodedVideo

Decoded = Mapping[ImagePart | VideoPart, DecodedImage | DecodedVideo]


def template_messages(conversation: Conversation, media: Decoded) -> list[dict[str, Any]]:
    """Messages for the chat template, each image or video part replaced by what was decoded from it.

    Qwen3.5's template refuses a system message anywhere but first, and more than one; clients send both. All system
    text is therefore merged, in order, into one leading message.
    """
    system = [_text(message) for message in conversation.messages if message.role == "system"]
    rest = [_message(message, media) for message in conversation.messages if message.role != "system"]
    merged = "\n\n".join(text for text in system if text)
    return [{"role": "system", "content": merged}, *rest] if merged else rest


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "\n".join(part.text for part in message.content if isinstance(part, TextPart))


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
