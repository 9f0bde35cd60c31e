"""Nested options of OpenAI's chat completions request, and vLLM's and Alibaba's additions to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json

from server.dialects.chat_messages import Wire
from server.dialects.limits import Limits
from server.generation.conversation import ImagePart, Message, Part, Structure, ToolChoice, VideoPart
from server.generation.errors import InvalidRequest

# A schema or grammar is compiled before it runs; what is larger than this takes longer than anyone waits.
_LONGEST_PATTERN = 8192
_LONGEST_GRAMMAR = 65536
_MOST_CHOICES = 1024


class StreamOptionsIn(Wire):
    """Options of a streamed answer. Tokens are counted once, at its end, whatever else is asked for."""

    include_usage: bool = False
    continuous_usage_stats: bool | None = None
    include_obfuscation: bool | None = None


class ChatTemplateArgumentsIn(BaseModel):
    """Arguments of the chat template. Others could replace the template or its inputs and are refused."""

    model_config = ConfigDict(strict=True, extra="forbid")

    enable_thinking: bool | None = None
    preserve_thinking: bool | None = None
    add_vision_id: bool | None = None


class ProcessorArgumentsIn(BaseModel):
    """What of vLLM's multi-modal processor a request may set; we scale and sample, the processor gets no arguments."""

    model_config = ConfigDict(strict=True, extra="forbid")

    min_pixels: int | None = Field(None, ge=0)
    max_pixels: int | None = Field(None, ge=1)
    fps: float | None = Field(None, gt=0, le=60)
    num_frames: int | None = Field(None, ge=1)
    # Model cards send it; frames are always sampled here.
    do_sample_frames: Literal[True] | None = None


def with_processor_arguments(
    messages: tuple[Message, ...], given: ProcessorArgumentsIn | None, limits: Limits
) -> tuple[Message, ...]:
    """The messages with `mm_processor_kwargs` put on each image and video that says nothing itself.

    Raises InvalidRequest where they contradict each other or are over a limit.
    """
    if given is None:
        return messages
    if given.fps is not None and given.num_frames is not None:
        raise InvalidRequest(
            "`fps` and `num_frames` both say how many frames to look at.", param="mm_processor_kwargs.num_frames"
        )
    if (given.num_frames or 0) > limits.video_frames:
        raise InvalidRequest(
            f"`num_frames` can be {limits.video_frames} at most.", param="mm_processor_kwargs.num_frames"
        )
    if given.max_pixels is not None and (given.min_pixels or 0) > given.max_pixels:
        raise InvalidRequest("`min_pixels` is more than `max_pixels`.", param="mm_processor_kwargs.min_pixels")
    return tuple(
        message
        if isinstance(message.content, str)
        else replace(message, content=tuple(_processed(part, given) for part in message.content))
        for message in messages
    )


def _processed(part: Part, given: ProcessorArgumentsIn) -> Part:
    if isinstance(part, ImagePart) and part.min_pixels is None and part.max_pixels is None:
        return replace(part, min_pixels=given.min_pixels, max_pixels=given.max_pixels)
    if isinstance(part, VideoPart) and part.fps is None:
        return replace(part, fps=given.fps, frames=given.num_frames)
    return part


class JsonSchemaIn(Wire):
    """A named schema; the answer keeps to it whether it is `strict` or not."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class TextFormatIn(Wire):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormatIn(Wire):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchemaFormatIn(Wire):
    """JSON by a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchemaIn


ResponseFormatIn = Annotated[TextFormatIn | JsonObjectFormatIn | JsonSchemaFormatIn, Field(discriminator="type")]


class StructuredOutputsIn(Wire):
    """vLLM's way to say it; exactly one of these."""

    model_config = ConfigDict(strict=True, extra="forbid")

    json_: dict[str, Any] | str | None = Field(None, alias="json")
    regex: str | None = Field(None, max_length=_LONGEST_PATTERN)
    choice: list[str] | None = Field(None, min_length=1, max_length=_MOST_CHOICES)
    grammar: str | None = Field(None, max_length=_LONGEST_GRAMMAR)
    json_object: Literal[True] | None = None


class FunctionNameIn(Wire):
    """A function by its name."""

    name: str


class NamedToolIn(Wire):
    """One function, to be called."""

    type: Literal["function"]
    function: FunctionNameIn


class AllowedToolsIn(Wire):
    """Some of the tools, and whether one of them must be called."""

    mode: Literal["auto", "required"]
    tools: list[NamedToolIn] = Field(min_length=1)


class AllowedToolsChoiceIn(Wire):
    """A choice that leaves only some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedToolsIn


ToolChoiceIn = (
    Literal["none", "auto", "required"] | Annotated[NamedToolIn | AllowedToolsChoiceIn, Field(discriminator="type")]
)


def to_tool_choice(choice: Any, parallel: bool | None, known: frozenset[str]) -> ToolChoice:
    """The choice in the core's terms. Raises InvalidRequest where it names a tool that is not there, or needs one."""
    many = parallel is not False
    if isinstance(choice, NamedToolIn):
        # OpenAI calls a named function exactly once.
        return ToolChoice(required=True, names=_checked({choice.function.name}, known), parallel=False)
    if isinstance(choice, AllowedToolsChoiceIn):
        names = {tool.function.name for tool in choice.allowed_tools.tools}
        return ToolChoice(choice.allowed_tools.mode == "required", _checked(names, known), many)
    if choice == "required" and not known:
        raise InvalidRequest("'tool_choice' is 'required', but there are no tools.", param="tool_choice")
    return ToolChoice(required=choice == "required", parallel=many)


def _checked(names: set[str], known: frozenset[str]) -> frozenset[str]:
    if missing := sorted(names - known):
        raise InvalidRequest(f"'tool_choice' names {missing[0]!r}, which is not among the tools.", param="tool_choice")
    return frozenset(names)


def to_structure(
    response_format: Any, structured: StructuredOutputsIn | None, guided: dict[str, Any]
) -> Structure | None:
    """The one form that the answer must have. Raises InvalidRequest if several are asked for at once.

    `guided` holds vLLM's older `guided_*` fields that are set, by their full names.
    """
    found = []
    if isinstance(response_format, JsonObjectFormatIn):
        found.append(Structure("json_object"))
    elif isinstance(response_format, JsonSchemaFormatIn):
        schema = response_format.json_schema.schema_
        param = "response_format.json_schema.schema"
        found.append(Structure("json_object") if schema is None else Structure("json_schema", schema, param))
    for name in structured.model_fields_set if structured else ():
        value = getattr(structured, name)
        kind: Any = {"json_": "json_schema"}.get(name, name)
        if value is not None:
            param = f"structured_outputs.{name.rstrip('_')}"
            found.append(Structure(kind, None if value is True else _schema(kind, value, param), param))
    for name, value in guided.items():
        kind = {"guided_json": "json_schema"}.get(name, name.removeprefix("guided_"))
        found.append(Structure(kind, _schema(kind, value, name), name))
    if len(found) > 1:
        raise InvalidRequest(
            f"'{found[0].param}' and '{found[1].param}' both ask for a form of the answer.", param=found[1].param
        )
    return found[0] if found else None


def _schema(kind: str, value: Any, param: str) -> Any:
    """The value, read where it is a schema that came as text, as vLLM's clients may send it."""
    if kind != "json_schema" or not isinstance(value, str):
        return value
    try:
        # As bodies are read, so that text may be no deeper.
        schema = from_json(value)
    except ValueError:
        schema = None
    if not isinstance(schema, dict):
        raise InvalidRequest(f"Invalid '{param}': it must be a JSON schema.", param=param)
    return schema
