"""OpenAI's chat completions request: its wire models, and how they become a Conversation.

Scalars are strict, as OpenAI's are: `"5"` is not a number. A field that is not listed here is accepted and reported
back in a response header, never an error, since clients send many that only some servers know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from server.dialects.limits import Limits
from server.generation.conversation import (
    Conversation,
    ImagePart,
    Message,
    Part,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
)
from server.generation.errors import InvalidRequest

_NAME = r"^[a-zA-Z0-9_.:-]{1,128}$"


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class TextPartIn(_Wire):
    """A text part of a message."""

    type: Literal["text", "input_text"]
    text: str


class RefusalPartIn(_Wire):
    """What the assistant said instead of an answer; read as text."""

    type: Literal["refusal"]
    refusal: str


class ImageUrlIn(_Wire):
    """Where an image is: a data URL or, if the server fetches, an http(s) address. `detail` bounds its pixels."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePartIn(_Wire):
    """An image part of a message. Other fields are kept only to be refused where an engine would heed them."""

    model_config = ConfigDict(strict=True, extra="allow")

    type: Literal["image_url"]
    image_url: ImageUrlIn


PartIn = Annotated[TextPartIn | RefusalPartIn | ImagePartIn, Field(discriminator="type")]


class FunctionCallIn(_Wire):
    """Name and arguments of an earlier call; arguments are JSON in a string, or the object itself."""

    name: str = Field(pattern=_NAME)
    arguments: str | dict[str, Any] | None = None


class ToolCallIn(_Wire):
    """An earlier call by the assistant."""

    id: str = ""
    type: Literal["function"] = "function"
    function: FunctionCallIn


class SystemMessageIn(_Wire):
    """Instructions; `developer` is OpenAI's newer word for `system`."""

    role: Literal["system", "developer"]
    content: str | list[PartIn]


class UserMessageIn(_Wire):
    """What the user says or shows."""

    role: Literal["user"]
    content: str | list[PartIn]


class AssistantMessageIn(_Wire):
    """What the model said earlier; its thinking under either of the two names in use."""

    role: Literal["assistant"]
    content: str | list[PartIn] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallIn] | None = None


class ToolMessageIn(_Wire):
    """The result of a tool call."""

    role: Literal["tool"]
    content: str | list[PartIn]
    tool_call_id: str | None = None


MessageIn = Annotated[SystemMessageIn | UserMessageIn | AssistantMessageIn | ToolMessageIn, Field(discriminator="role")]


class FunctionIn(_Wire):
    """A function that the model may call."""

    name: str = Field(pattern=_NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ToolIn(_Wire):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: FunctionIn


class StreamOptionsIn(_Wire):
    """Options of a streamed answer."""

    include_usage: bool = False


class ChatTemplateArgumentsIn(BaseModel):
    """Arguments of the chat template. Others could replace the template or its inputs and are refused."""

    model_config = ConfigDict(strict=True, extra="forbid")

    enable_thinking: bool | None = None
    preserve_thinking: bool | None = None
    add_vision_id: bool | None = None


class ResponseFormatIn(_Wire):
    """Form of the answer; only text so far."""

    type: Literal["text"]


class ChatRequest(BaseModel):
    """The body of POST /v1/chat/completions."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str
    messages: list[MessageIn] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptionsIn | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=1_000_000)
    min_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Annotated[str, Field(max_length=256)] | list[Annotated[str, Field(max_length=256)]] | None = None
    min_tokens: int | None = Field(None, ge=0)
    ignore_eos: bool | None = None
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    response_format: ResponseFormatIn | None = None
    tools: list[ToolIn] | None = None
    tool_choice: Literal["auto", "none"] | None = None
    parallel_tool_calls: Literal[True] | None = None
    enable_thinking: bool | None = None
    chat_template_kwargs: ChatTemplateArgumentsIn | None = None

    # Accepted without effect: they ask for nothing that this server would do otherwise.
    user: str | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    store: bool | None = None

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, stop: str | list[str] | None) -> str | list[str] | None:
        stops = [stop] if isinstance(stop, str) else stop or []
        if len(stops) > 16 or any(not each for each in stops):
            raise ValueError("must be at most 16 strings, none of them empty")
        return stop

    @property
    def ignored(self) -> list[str]:
        """Names of the fields that this server does not know."""
        return sorted(self.model_extra or {})


def to_conversation(request: ChatRequest, limits: Limits) -> Conversation:
    """The request in the core's terms. Raises InvalidRequest where it is over a limit or makes no sense."""
    tools = () if request.tool_choice == "none" else tuple(_tool(tool) for tool in request.tools or ())
    _bound(len(request.messages), limits.messages, "messages")
    _bound(len(request.tools or ()), limits.tools, "tools")
    return Conversation(
        messages=tuple(_message(index, message) for index, message in enumerate(request.messages)),
        tools=tools,
        thinking=_thinking(request),
        template_arguments=_template_arguments(request),
        sampling=_sampling(request),
        max_tokens=request.max_completion_tokens or request.max_tokens,
        max_tokens_param="max_completion_tokens" if request.max_completion_tokens else "max_tokens",
    )


def _bound(count: int, limit: int, param: str) -> None:
    if count > limit:
        raise InvalidRequest(f"There are {count} {param}; at most {limit} are allowed.", param=param, code="too_many")


def _thinking(request: ChatRequest) -> bool | None:
    inner = request.chat_template_kwargs.enable_thinking if request.chat_template_kwargs else None
    outer = request.enable_thinking
    if inner is not None and outer is not None and inner != outer:
        raise InvalidRequest(
            "`enable_thinking` and `chat_template_kwargs.enable_thinking` contradict each other.",
            param="enable_thinking",
        )
    return inner if outer is None else outer


def _template_arguments(request: ChatRequest) -> dict[str, Any]:
    given = request.chat_template_kwargs
    return {} if given is None else given.model_dump(exclude_none=True, exclude={"enable_thinking"})


def _sampling(request: ChatRequest) -> Sampling:
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    return Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        # vLLM's clients say -1, its engine 0, for "all".
        top_k=0 if request.top_k == -1 else request.top_k,
        min_p=request.min_p,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        repetition_penalty=request.repetition_penalty,
        seed=request.seed,
        stop=stop,
        min_tokens=request.min_tokens or 0,
        ignore_eos=bool(request.ignore_eos),
    )


def _tool(tool: ToolIn) -> Tool:
    function = tool.function
    return Tool(function.name, function.description, function.parameters or {"type": "object", "properties": {}})


def _message(index: int, message: Any) -> Message:
    role: Role = "system" if message.role == "developer" else message.role
    content = _content(message.content, f"messages[{index}].content")
    if not isinstance(message, AssistantMessageIn):
        return Message(role, content, tool_call_id=getattr(message, "tool_call_id", None))
    return Message(
        role,
        content,
        reasoning=message.reasoning if message.reasoning is not None else message.reasoning_content,
        tool_calls=tuple(_call(call) for call in message.tool_calls or ()),
    )


def _content(content: str | list[Any] | None, param: str) -> str | tuple[Part, ...]:
    if content is None or isinstance(content, str):
        return content or ""
    return tuple(_part(part, f"{param}[{index}]") for index, part in enumerate(content))


def _part(part: Any, param: str) -> Part:
    if isinstance(part, ImagePartIn):
        for name, value in (part.model_extra or {}).items():
            # A `uuid` would be the image's key in the engine's cache, where it can name someone else's image.
            if value is not None and (name in ("uuid", "image_pil") or name.endswith("_embeds")):
                raise InvalidRequest(f"The part {param} has `{name}`, which is not taken.", param=f"{param}.{name}")
        return ImagePart(part.image_url.url, f"{param}.image_url.url", part.image_url.detail or "auto")
    return TextPart(part.refusal if isinstance(part, RefusalPartIn) else part.text)


def _call(call: ToolCallIn) -> ToolCall:
    return ToolCall(call.id, call.function.name, _arguments(call.function.arguments))


def _arguments(arguments: str | dict[str, Any] | None) -> Mapping[str, Any]:
    """The arguments object. What the model once garbled lives on in the history, so it is no error: it reads as {}."""
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments)
        except ValueError:
            return {}
        return parsed if isinstance(parsed, dict) else {}
    return arguments or {}
