"""Items of OpenAI's Responses API: their wire models, and what they are in the core.

A conversation is a flat list of items: messages, the model's reasoning, calls and their results. What the model made in
one turn are several items, which the core holds as one message of the assistant's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, field_validator

from server.dialects.chat_messages import Wire, call_arguments
from server.dialects.responses_thinking import opened, sealed
from server.generation.conversation import Detail, ImagePart, Message, Part, Role, TextPart, ToolCall
from server.generation.errors import InvalidRequest

NAME = r"^[a-zA-Z0-9_.:-]{1,128}$"
"""A function's name."""

_MOST_PARTS = 1024
_LONGEST_ID = 256

Id = Annotated[str, Field(max_length=_LONGEST_ID)]


class TextIn(Wire):
    """Text of a message, of a result or of an earlier answer."""

    type: Literal["input_text", "output_text", "text"]
    text: str


class RefusalIn(Wire):
    """What the model said instead of an answer; read as text."""

    type: Literal["refusal"]
    refusal: str


class ImageIn(Wire):
    """An image: a data URL or, if the server fetches, an http(s) address. `original` is what `high` is here."""

    type: Literal["input_image"]
    image_url: str | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None
    file_id: None = None

    @field_validator("file_id", mode="before")
    @classmethod
    def _no_file(cls, value: Any) -> Any:
        if value is not None:
            raise ValueError("no files are kept here; send the image as a data URL in `image_url`")
        return value


PartIn = Annotated[TextIn | RefusalIn | ImageIn, Field(discriminator="type")]


def _readable(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") in ("input_file", "input_audio", "input_video"):
        raise ValueError(
            f"an '{value['type']}' is not read here; send a document's text as `input_text`, or its pages as images"
        )
    return value


# The first wrong part is told; to collect all of thousands would take seconds.
PartsIn = Annotated[list[Annotated[PartIn, BeforeValidator(_readable)]], Field(fail_fast=True, max_length=_MOST_PARTS)]


class MessageIn(Wire):
    """A message. `developer` is OpenAI's newer word for `system`; a `phase` has no place in Qwen's template."""

    type: Literal["message"]
    role: Literal["user", "assistant", "system", "developer"]
    content: str | PartsIn
    id: Id | None = None


class ReasoningTextIn(Wire):
    """A text of the model's thinking."""

    type: Literal["reasoning_text", "summary_text"]
    text: str


class ReasoningIn(Wire):
    """The model's earlier thinking, as itself or sealed in `encrypted_content`; a summary where there is nothing else.

    What another server has sealed is passed over.
    """

    type: Literal["reasoning"]
    id: Id | None = None
    summary: Annotated[list[ReasoningTextIn], Field(fail_fast=True, max_length=_MOST_PARTS)] | None = None
    content: Annotated[list[ReasoningTextIn], Field(fail_fast=True, max_length=_MOST_PARTS)] | None = None
    encrypted_content: str | None = None

    @property
    def thinking(self) -> str | None:
        """The text that goes before what the model said, if any."""
        if self.content:
            return "".join(each.text for each in self.content)
        if self.encrypted_content and (text := opened(self.encrypted_content)) is not None:
            return text
        return "\n\n".join(each.text for each in self.summary or ()) or None


class FunctionCallIn(Wire):
    """An earlier call by the model; `arguments` is JSON in a string."""

    type: Literal["function_call"]
    id: Id | None = None
    call_id: Id
    name: str = Field(pattern=NAME)
    namespace: str | None = Field(None, pattern=NAME)
    arguments: str


class FunctionCallOutputIn(Wire):
    """The result of a call. Nobody checks that there was such a call: histories are cut in all places."""

    type: Literal["function_call_output"]
    id: Id | None = None
    call_id: Id
    output: str | PartsIn


class ItemReferenceIn(Wire):
    """An item that is stored here, by its id."""

    type: Literal["item_reference"]
    id: Id


def _kind(value: Any) -> Any:
    """Without a type it is a message, or the reference that OpenAI lets be written as an id alone."""
    if isinstance(value, dict) and value.get("type") is None:
        return {**value, "type": "item_reference" if "role" not in value and "id" in value else "message"}
    return value


ItemIn = MessageIn | ReasoningIn | FunctionCallIn | FunctionCallOutputIn | ItemReferenceIn
ItemsIn = list[Annotated[Annotated[ItemIn, Field(discriminator="type")], BeforeValidator(_kind)]]

_ITEMS: TypeAdapter[ItemsIn] = TypeAdapter(ItemsIn)


def called_name(name: str, namespace: str | None) -> str:
    """What the model calls a function by."""
    return name if namespace is None else f"{namespace}.{name}"


def stored_items(items: Sequence[ItemIn], new_id: Callable[[str], str]) -> list[dict[str, Any]]:
    """The items in OpenAI's full form, as they are kept and listed; `new_id` makes an id that begins as is asked."""
    return [_stored(item, item.id or new_id(_PREFIXES[type(item)])) for item in items]


def read_items(stored: bytes) -> list[ItemIn]:
    """Items that `stored_items` or an answer's output made, read back."""
    return _ITEMS.validate_json(stored)


_PREFIXES: Mapping[type[Wire], str] = {
    MessageIn: "msg",
    ReasoningIn: "rs",
    FunctionCallIn: "fc",
    FunctionCallOutputIn: "fco",
}


def _stored(item: ItemIn, id: str) -> dict[str, Any]:
    if isinstance(item, MessageIn):
        spoken = "output_text" if item.role == "assistant" else "input_text"
        content = [TextIn(type="input_text", text=item.content)] if isinstance(item.content, str) else item.content
        parts = [_stored_part(part, spoken) for part in content]
        return {"id": id, "type": "message", "role": item.role, "status": "completed", "content": parts}
    if isinstance(item, ReasoningIn):
        thinking = item.thinking
        told: dict[str, Any] = {"id": id, "type": "reasoning", "summary": [], "status": "completed"}
        return told if thinking is None else {**told, "encrypted_content": sealed(thinking)}
    if isinstance(item, FunctionCallIn):
        call = {"call_id": item.call_id, "name": item.name, "arguments": item.arguments}
        told = {"id": id, "type": "function_call", **call, "status": "completed"}
        return told if item.namespace is None else {**told, "namespace": item.namespace}
    assert isinstance(item, FunctionCallOutputIn), "references are resolved before"
    output = item.output
    shown = output if isinstance(output, str) else [_stored_part(part, "input_text") for part in output]
    return {"id": id, "type": "function_call_output", "call_id": item.call_id, "output": shown, "status": "completed"}


def _stored_part(part: TextIn | RefusalIn | ImageIn, spoken: str) -> dict[str, Any]:
    if isinstance(part, ImageIn):
        return {"type": "input_image", "image_url": part.image_url, "detail": part.detail or "auto"}
    if isinstance(part, RefusalIn):
        return {"type": "refusal", "refusal": part.refusal}
    told = {"type": spoken, "text": part.text}
    return {**told, "annotations": []} if spoken == "output_text" else told


def to_messages(items: Sequence[ItemIn], place: Callable[[int], str]) -> tuple[Message, ...]:
    """The conversation in the core's terms. What the model made between two messages of others is one turn.

    `place` names an item by its index, for errors. Raises InvalidRequest for an image where none can be shown.
    """
    made: list[Message] = []
    for spoken, run in groupby(enumerate(items), key=lambda each: _of_the_model(each[1])):
        if spoken:
            made.append(_turn([(item, place(index)) for index, item in run]))
        else:
            made += (_message(item, place(index)) for index, item in run)
    return tuple(made)


def _of_the_model(item: ItemIn) -> bool:
    return isinstance(item, ReasoningIn | FunctionCallIn) or (isinstance(item, MessageIn) and item.role == "assistant")


def _turn(items: Sequence[tuple[ItemIn, str]]) -> Message:
    thoughts = [thought for item, _ in items if isinstance(item, ReasoningIn) and (thought := item.thinking)]
    said = [
        _text(part, place)
        for item, place in items
        if isinstance(item, MessageIn)
        for part in _parts(item.content, f"{place}.content")
    ]
    calls = [
        ToolCall(item.call_id, called_name(item.name, item.namespace), call_arguments(item.arguments))
        for item, _ in items
        if isinstance(item, FunctionCallIn)
    ]
    return Message("assistant", "".join(said), reasoning="\n\n".join(thoughts) or None, tool_calls=tuple(calls))


def _message(item: ItemIn, place: str) -> Message:
    if isinstance(item, FunctionCallOutputIn):
        content = item.output if isinstance(item.output, str) else tuple(_parts(item.output, f"{place}.output"))
        return Message("tool", content, tool_call_id=item.call_id)
    assert isinstance(item, MessageIn), "references are resolved before"
    if isinstance(item.content, str):
        return Message("user" if item.role == "user" else "system", item.content)
    parts: tuple[Part, ...] = tuple(_parts(item.content, f"{place}.content"))
    role: Role = "user" if item.role == "user" else "system"
    if role == "system":
        parts = tuple(TextPart(_text(part, place)) for part in parts)
    # A text that was stored is a part, and is to be the prompt that it was.
    only = parts[0] if len(parts) == 1 else None
    return Message(role, only.text if isinstance(only, TextPart) else parts)


def _parts(content: str | Sequence[Any], place: str) -> Iterator[Part]:
    if isinstance(content, str):
        yield TextPart(content)
        return
    for index, part in enumerate(content):
        if isinstance(part, ImageIn):
            param = f"{place}[{index}].image_url"
            if part.image_url is None:
                raise InvalidRequest(
                    f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
                )
            asked = part.detail or "auto"
            detail: Detail = "high" if asked == "original" else asked
            yield ImagePart(part.image_url, param, detail)
        else:
            yield TextPart(part.refusal if isinstance(part, RefusalIn) else part.text)


def _text(part: Part, place: str) -> str:
    if not isinstance(part, TextPart):
        raise InvalidRequest(
            "Only a user's message or a function's output can show an image.", param=f"{place}.content"
        )
    return part.text
