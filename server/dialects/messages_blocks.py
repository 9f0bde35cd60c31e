"""Messages of Anthropic's API: the wire models of their blocks, and what they are in the core.

A user's message holds tool results beside what the user says; in the core each result is a message of its own. What has
no meaning here (`cache_control`, `citations` on a text, a thinking block's `signature`) is passed over; what would have
had one is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from server.dialects.chat_messages import Wire
from server.generation.conversation import ImagePart, Message, Part, TextPart, ToolCall

NAME = r"^[a-zA-Z0-9_.:-]{1,128}$"
"""A tool's name."""

_MOST_BLOCKS = 1024


class TextIn(Wire):
    """A text."""

    type: Literal["text"]
    text: str


class Base64ImageIn(Wire):
    """An image's bytes."""

    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class UrlImageIn(Wire):
    """Where an image is."""

    type: Literal["url"]
    url: str


class ImageIn(Wire):
    """An image. `transformations` are passed over: the server's own limits say how large the model sees it."""

    type: Literal["image"]
    source: Annotated[Base64ImageIn | UrlImageIn, Field(discriminator="type")]


class PlainTextIn(Wire):
    """A document's text."""

    type: Literal["text"]
    media_type: Literal["text/plain"] = "text/plain"
    data: str


class ContentIn(Wire):
    """A document in blocks of its own."""

    type: Literal["content"]
    content: (
        str
        | Annotated[
            list[Annotated[TextIn | ImageIn, Field(discriminator="type")]],
            Field(fail_fast=True, max_length=_MOST_BLOCKS),
        ]
    )


def _readable(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") in ("base64", "url", "file"):
        raise ValueError(
            "only documents of text (`text` or `content`) are read here; send a PDF's text, or its pages as images"
        )
    return value


def _no_citations(value: Any) -> Any:
    if isinstance(value, dict) and value.get("enabled"):
        raise ValueError("no citations are made here")
    return value


Citations = Annotated[Any, BeforeValidator(_no_citations)]


class DocumentIn(Wire):
    """A document, read as its title, its context and its text."""

    type: Literal["document"]
    source: Annotated[Annotated[PlainTextIn | ContentIn, Field(discriminator="type")], BeforeValidator(_readable)]
    title: str | None = None
    context: str | None = None
    citations: Citations = None


class SearchResultIn(Wire):
    """What a search of the client's found, read as its title, its source and its text."""

    type: Literal["search_result"]
    source: str
    title: str
    content: Annotated[list[TextIn], Field(fail_fast=True, max_length=_MOST_BLOCKS)]
    citations: Citations = None


ShownIn = Annotated[TextIn | ImageIn | DocumentIn | SearchResultIn, Field(discriminator="type")]


class ToolResultIn(Wire):
    """The result of a tool. Nobody checks that there was such a call: histories are cut in all places."""

    type: Literal["tool_result"]
    tool_use_id: str
    # The first wrong block is told; to collect all of thousands would take seconds.
    content: str | Annotated[list[ShownIn], Field(fail_fast=True, max_length=_MOST_BLOCKS)] | None = None
    is_error: bool | None = None


class ThinkingIn(Wire):
    """The model's earlier thinking. Its `signature` is not checked: see `messages_response.signature`."""

    type: Literal["thinking"]
    thinking: str


class RedactedThinkingIn(Wire):
    """Thinking that only Anthropic can read; passed over."""

    type: Literal["redacted_thinking"]


class ToolUseIn(Wire):
    """An earlier call by the model."""

    type: Literal["tool_use"]
    id: str
    name: str = Field(pattern=NAME)
    input: dict[str, Any]


UserBlockIn = Annotated[
    TextIn | ImageIn | DocumentIn | SearchResultIn | ToolResultIn,
    Field(discriminator="type"),
]
AssistantBlockIn = Annotated[TextIn | ThinkingIn | RedactedThinkingIn | ToolUseIn, Field(discriminator="type")]
TextsIn = str | Annotated[list[TextIn], Field(fail_fast=True, max_length=_MOST_BLOCKS)]


class UserIn(Wire):
    """What the user says and shows, and what the tools gave."""

    role: Literal["user"]
    content: str | Annotated[list[UserBlockIn], Field(fail_fast=True, max_length=_MOST_BLOCKS)]


class AssistantIn(Wire):
    """What the model thought, said and called."""

    role: Literal["assistant"]
    content: str | Annotated[list[AssistantBlockIn], Field(fail_fast=True, max_length=_MOST_BLOCKS)]


class SystemIn(Wire):
    """Instructions in the middle; Qwen knows them only at the beginning, so that is where they are put."""

    role: Literal["system"]
    content: TextsIn


MessageIn = Annotated[UserIn | AssistantIn | SystemIn, Field(discriminator="role")]


def to_messages(system: str | list[TextIn] | None, messages: Sequence[Any]) -> tuple[Message, ...]:
    """The conversation in the core's terms. Messages of the assistant that follow each other are one turn: clients keep
    the blocks of one answer in messages of their own.
    """
    made: list[Message] = []
    if system:
        made.append(Message("system", _texts(system)))
    for spoken, run in groupby(enumerate(messages), key=lambda each: isinstance(each[1], AssistantIn)):
        if spoken:
            made.append(_of_assistant([block for _, message in run for block in _blocks(message.content)]))
            continue
        for index, message in run:
            if isinstance(message, SystemIn):
                made.append(Message("system", _texts(message.content)))
            else:
                made += _of_user(message.content, f"messages[{index}].content")
    return tuple(made)


def _texts(content: str | list[TextIn]) -> str | tuple[Part, ...]:
    return content if isinstance(content, str) else tuple(TextPart(block.text) for block in content)


def _of_user(content: str | list[Any], param: str) -> Iterator[Message]:
    if isinstance(content, str):
        yield Message("user", content)
        return
    said: list[Part] = []
    for index, block in enumerate(content):
        if isinstance(block, ToolResultIn):
            if said:
                yield Message("user", tuple(said))
                said = []
            yield Message("tool", _result(block, f"{param}[{index}]"), tool_call_id=block.tool_use_id)
        else:
            said += _shown(block, f"{param}[{index}]")
    # A document may be empty; the message is there all the same.
    if said or not any(isinstance(block, ToolResultIn) for block in content):
        yield Message("user", tuple(said))


def _result(block: ToolResultIn, param: str) -> str | tuple[Part, ...]:
    """A result's content. That it is an error is written before it: Qwen's template has no other place for that."""
    content = block.content or ""
    if isinstance(content, str):
        return f"Error: {content}" if block.is_error else content
    parts = [part for index, each in enumerate(content) for part in _shown(each, f"{param}.content[{index}]")]
    return (TextPart("Error: "), *parts) if block.is_error else tuple(parts)


def _shown(block: Any, param: str) -> list[Part]:
    if isinstance(block, TextIn):
        return [TextPart(block.text)]
    if isinstance(block, ImageIn):
        source = block.source
        if isinstance(source, UrlImageIn):
            return [ImagePart(source.url, f"{param}.source.url")]
        return [ImagePart(f"data:{source.media_type};base64,{source.data}", f"{param}.source.data")]
    if isinstance(block, SearchResultIn):
        return [TextPart("\n\n".join((block.title, block.source, *(text.text for text in block.content))))]
    head = "".join(f"{each}\n\n" for each in (block.title, block.context) if each)
    source = block.source
    if isinstance(source, PlainTextIn):
        return [TextPart(head + source.data)]
    if isinstance(source.content, str):
        return [TextPart(head + source.content)]
    parts = [
        part for index, each in enumerate(source.content) for part in _shown(each, f"{param}.source.content[{index}]")
    ]
    return [TextPart(head), *parts] if head else parts


def _blocks(content: str | list[Any]) -> list[Any]:
    return [TextIn(type="text", text=content)] if isinstance(content, str) else content


def _of_assistant(blocks: list[Any]) -> Message:
    thoughts = [block.thinking for block in blocks if isinstance(block, ThinkingIn) and block.thinking]
    return Message(
        "assistant",
        "".join(block.text for block in blocks if isinstance(block, TextIn)),
        reasoning="\n\n".join(thoughts) or None,
        tool_calls=tuple(
            ToolCall(block.id, block.name, block.input) for block in blocks if isinstance(block, ToolUseIn)
        ),
    )
