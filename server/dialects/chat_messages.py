"""Messages and tools of OpenAI's chat completions: their wire models, and what they are in the core.

Clients send more than they mean: an SDK's assistant message goes back whole, with `audio`, `annotations` and
`function_call` as null or empty. What has no meaning here is passed over; what would have had one is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from server.generation.conversation import Detail, ImagePart, Message, Part, Role, TextPart, Tool, ToolCall, VideoPart
from server.generation.errors import InvalidRequest

# Who shows images: the template raises for a system message, and the assistant only speaks.
_SEEING = ("user", "tool")

_NAME = r"^[a-zA-Z0-9_.:-]{1,128}$"
_MOST_PARTS = 1024
_MOST_CALLS = 1024
# What a JSON body may nest; arguments come as text, which nobody has bounded yet.
_DEEPEST_ARGUMENTS = 200

_SURROGATE = re.compile("[\ud800-\udfff]")


class Wire(BaseModel):
    """A part of a request; fields that nobody knows are passed over."""

    model_config = ConfigDict(strict=True, extra="ignore")


class TextPartIn(Wire):
    """A text part of a message."""

    type: Literal["text", "input_text"]
    text: str


class RefusalPartIn(Wire):
    """What the assistant said instead of an answer; read as text."""

    type: Literal["refusal"]
    refusal: str


class ImageUrlIn(Wire):
    """Where an image is: a data URL or, if the server fetches, an http(s) address. `detail` bounds its pixels.

    OpenAI's `original` is as many as are allowed, which is what `high` is here.
    """

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePartIn(Wire):
    """An image part of a message. Other fields are kept only to be refused where an engine would heed them."""

    model_config = ConfigDict(strict=True, extra="allow")

    type: Literal["image_url"]
    image_url: ImageUrlIn
    min_pixels: int | None = Field(None, ge=0)
    max_pixels: int | None = Field(None, ge=1)


class VideoUrlIn(Wire):
    """Where a video is: a data URL or, if the server fetches, an http(s) address."""

    url: str


class VideoPartIn(Wire):
    """A video part of a message, of which `fps` frames a second are looked at. Other fields as for images."""

    model_config = ConfigDict(strict=True, extra="allow")

    type: Literal["video_url"]
    video_url: VideoUrlIn
    fps: float | None = Field(None, gt=0, le=60)


PartIn = Annotated[TextPartIn | RefusalPartIn | ImagePartIn | VideoPartIn, Field(discriminator="type")]
# The first wrong part is told; to collect all of thousands would take seconds.
PartsIn = Annotated[list[PartIn], Field(fail_fast=True, max_length=_MOST_PARTS)]


class FunctionCallIn(Wire):
    """Name and arguments of an earlier call; arguments are JSON in a string, or the object itself."""

    name: str = Field(pattern=_NAME)
    arguments: str | dict[str, Any] | None = None


class ToolCallIn(Wire):
    """An earlier call by the assistant."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: FunctionCallIn


def _no_function_call(value: Any) -> None:
    if value is not None:
        raise ValueError("OpenAI's old form is not taken; use `tool_calls`, and the role `tool` for the result")


class SystemMessageIn(Wire):
    """Instructions; `developer` is OpenAI's newer word for `system`."""

    role: Literal["system", "developer"]
    content: str | PartsIn


class UserMessageIn(Wire):
    """What the user says or shows. A `name` has no place in Qwen's template and is passed over, in any message."""

    role: Literal["user"]
    content: str | PartsIn


class AssistantMessageIn(Wire):
    """What the model said earlier; its thinking under either of the two names in use, or inline.

    A `refusal` is what it said instead of an answer, and reads as its content.
    """

    role: Literal["assistant"]
    content: str | PartsIn | None = None
    refusal: str | None = None
    function_call: Annotated[None, BeforeValidator(_no_function_call)] = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: Annotated[list[ToolCallIn], Field(fail_fast=True, max_length=_MOST_CALLS)] | None = None


class ToolMessageIn(Wire):
    """The result of a tool call. Nobody checks that there was such a call: histories are cut in all places."""

    role: Literal["tool"]
    content: str | PartsIn | None = None
    tool_call_id: str | None = None


MessageIn = Annotated[SystemMessageIn | UserMessageIn | AssistantMessageIn | ToolMessageIn, Field(discriminator="role")]


class FunctionIn(Wire):
    """A function that the model may call."""

    name: str = Field(pattern=_NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolIn(Wire):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: FunctionIn


def to_tool(tool: ToolIn) -> Tool:
    """The tool in the core's terms."""
    function = tool.function
    parameters = function.parameters or {"type": "object", "properties": {}}
    return Tool(function.name, function.description, parameters, bool(function.strict))


def to_message(index: int, message: Any) -> Message:
    """The message in the core's terms; `index` is its place, for errors."""
    role: Role = "system" if message.role == "developer" else message.role
    content = _content(message.content, f"messages[{index}].content")
    if role not in _SEEING:
        _refuse_media(content, index, message.role)
    if not isinstance(message, AssistantMessageIn):
        return Message(role, content, tool_call_id=getattr(message, "tool_call_id", None))
    reasoning = message.reasoning if message.reasoning is not None else message.reasoning_content
    if message.refusal:
        content = (*_parts(content), TextPart(message.refusal)) if content else message.refusal
    if reasoning is None:
        reasoning, content = _inline_thinking(content)
    return Message(
        role, content, reasoning=reasoning, tool_calls=tuple(_call(call) for call in message.tool_calls or ())
    )


def _parts(content: str | tuple[Part, ...]) -> tuple[Part, ...]:
    return (TextPart(content),) if isinstance(content, str) else content


def _inline_thinking(content: str | tuple[Part, ...]) -> tuple[str | None, str | tuple[Part, ...]]:
    """Thinking that a client left in the text, taken out of it.

    Like Qwen's template, it takes `thought</think>` for thinking too, which is what the model writes after a prompt
    that opened it; unlike the template, it keeps all that comes after the first closer.
    """
    first = content if isinstance(content, str) else next(iter(content), None)
    text = first.text if isinstance(first, TextPart) else first if isinstance(first, str) else ""
    thought, closer, rest = text.partition("</think>")
    thought = thought.lstrip()
    if not closer or ("<think>" in thought and not thought.startswith("<think>")):
        return None, content
    rest = rest.lstrip("\n")
    reasoning = thought.removeprefix("<think>").strip("\n")
    return reasoning, rest if isinstance(content, str) else (TextPart(rest), *content[1:])


def _content(content: str | list[Any] | None, param: str) -> str | tuple[Part, ...]:
    if content is None or isinstance(content, str):
        return content or ""
    return tuple(_part(part, f"{param}[{index}]") for index, part in enumerate(content))


def _refuse_media(content: str | tuple[Part, ...], index: int, role: str) -> None:
    for place, part in enumerate(content):
        if isinstance(part, ImagePart | VideoPart):
            raise InvalidRequest(
                f"A message with the role {role!r} can hold text only; show images and videos in a user's message or a "
                "tool's.",
                param=f"messages[{index}].content[{place}]",
            )


def _part(part: Any, param: str) -> Part:
    if isinstance(part, ImagePartIn | VideoPartIn):
        for name, value in (part.model_extra or {}).items():
            # A `uuid` would be the image's key in the engine's cache, where it can name someone else's image.
            if value is not None and (name in ("uuid", "image_pil", "video") or name.endswith("_embeds")):
                raise InvalidRequest(f"The part {param} has `{name}`, which is not taken.", param=f"{param}.{name}")
    if isinstance(part, VideoPartIn):
        return VideoPart(part.video_url.url, f"{param}.video_url.url", part.fps)
    if isinstance(part, ImagePartIn):
        least, most = part.min_pixels, part.max_pixels
        if least is not None and most is not None and least > most:
            raise InvalidRequest(f"The part {param} asks for more pixels at least than at most.", param=param)
        asked = part.image_url.detail or "auto"
        detail: Detail = "high" if asked == "original" else asked
        return ImagePart(part.image_url.url, f"{param}.image_url.url", detail, least, most)
    return TextPart(part.refusal if isinstance(part, RefusalPartIn) else part.text)


def _call(call: ToolCallIn) -> ToolCall:
    return ToolCall(call.id or "", call.function.name, call_arguments(call.function.arguments))


def call_arguments(arguments: str | dict[str, Any] | None) -> Mapping[str, Any]:
    """The arguments object. What the model once garbled lives on in the history, so it is no error: it reads as {}."""
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments)
        except (ValueError, RecursionError):
            return {}
        if not isinstance(parsed, dict) or _deeper(parsed, _DEEPEST_ARGUMENTS):
            return {}
        # Half a surrogate pair has no bytes, so no tokens either.
        return parsed if "\\u" not in arguments else _whole_characters(parsed)
    return arguments or {}


def _deeper(value: Any, levels: int) -> bool:
    at = [value]
    for _ in range(levels):
        at = [
            inner
            for outer in at
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not at:
            return False
    return True


def _whole_characters(value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(_SURROGATE.sub("\ufffd", text)) if _SURROGATE.search(text) else value
