"""The conversation as Qwen's chat template wants it: plain dictionaries in OpenAI's shape, with its quirks met."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.generation.conversation import Conversation, ImagePart, Message, TextPart
from server.generation.ports import DecodedImage


def template_messages(conversation: Conversation, images: Mapping[ImagePart, DecodedImage]) -> list[dict[str, Any]]:
    """Messages for the chat template, each image part replaced by its decoded image.

    Qwen3.5's template refuses a system message anywhere but first, and more than one; clients send both. All system
    text is therefore merged, in order, into one leading message.
    """
    system = [_text(message) for message in conversation.messages if message.role == "system"]
    rest = [_message(message, images) for message in conversation.messages if message.role != "system"]
    merged = "\n\n".join(text for text in system if text)
    return [{"role": "system", "content": merged}, *rest] if merged else rest


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "\n".join(part.text for part in message.content if isinstance(part, TextPart))


def _message(message: Message, images: Mapping[ImagePart, DecodedImage]) -> dict[str, Any]:
    out: dict[str, Any] = {"role": message.role, "content": _content(message, images)}
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


def _content(message: Message, images: Mapping[ImagePart, DecodedImage]) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return message.content
    return [
        {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": "image", "image": images[part]}
        for part in message.content
    ]
