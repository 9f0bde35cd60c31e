"""A request as the core sees it: what every dialect is parsed into, and nothing of any wire format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Detail = Literal["auto", "low", "high"]


@dataclass(frozen=True, slots=True)
class TextPart:
    """A piece of text in a message."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image in a message, as the client named it; `param` is its place in the request, for errors.

    `detail` is how closely the model should look at it; it is made larger or smaller to have `min_pixels` to
    `max_pixels`.
    """

    url: str
    param: str
    detail: Detail = "auto"
    min_pixels: int | None = None
    max_pixels: int | None = None


@dataclass(frozen=True, slots=True)
class VideoPart:
    """A video in a message, as the client named it; `param` is its place in the request, for errors.

    `fps` frames of each second are looked at, or `frames` of the whole; with neither what the server is set to.
    """

    url: str
    param: str
    fps: float | None = None
    frames: int | None = None


Part = TextPart | ImagePart | VideoPart


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the assistant made earlier in the conversation."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `reasoning` and `tool_calls` belong to the assistant, `tool_call_id` to a tool's result."""

    role: Role
    content: str | tuple[Part, ...]
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `parameters` is the JSON schema of its arguments object.

    `strict` binds the model to that schema by a grammar.
    """

    name: str
    description: str | None
    parameters: Mapping[str, Any]
    strict: bool = False

    def for_template(self) -> dict[str, Any]:
        """OpenAI's JSON form, which is what chat templates print."""
        function: dict[str, Any] = {"name": self.name}
        if self.description is not None:
            function["description"] = self.description
        function["parameters"] = self.parameters
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Which tools may be called, and whether one must be. `names` None means all, `parallel` more than one call."""

    required: bool = False
    names: frozenset[str] | None = None
    parallel: bool = True


@dataclass(frozen=True, slots=True)
class Structure:
    """A form that the answer must have; it never binds the thinking. `value` is None for `json_object`."""

    kind: Literal["json_object", "json_schema", "regex", "choice", "grammar"]
    value: Any = None
    param: str = "response_format"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. None means: the profile's default for the thinking mode, else the engine's.

    `logprobs` is the number of likeliest tokens to tell beside each chosen one; None tells nothing.
    `skip_special_tokens` leaves them out of the text; where thinking and calls are read, they must stay.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    include_stop: bool = False
    min_tokens: int = 0
    ignore_eos: bool = False
    logit_bias: Mapping[int, float] | None = None
    logprobs: int | None = None
    skip_special_tokens: bool = False


@dataclass(frozen=True, slots=True)
class Conversation:
    """A whole request: what to answer and how.

    `thinking` None leaves the choice to the profile. `max_tokens` counts thinking and answer together; None takes the
    profile's limit or what is left of the context. `thinking_budget` bounds the thinking's tokens; `effort` asks for
    the profile's budget of that name. `answers` is how many to draw. `continue_final` goes on with the last message
    instead of starting a new one. Only requests of the same `cache_salt` share cached prefixes. `max_tokens` that the
    context has no room for is refused, or with `cut_to_context` taken for what there is room for. `effort_param` and
    `max_tokens_param` are the request's names for them, for errors.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    structure: Structure | None = None
    thinking: bool | None = None
    thinking_budget: int | None = None
    effort: str | None = None
    answers: int = 1
    # The client reads nothing before all has ended.
    whole: bool = False
    continue_final: bool = False
    cache_salt: str | None = None
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    max_tokens_param: str = "max_tokens"
    cut_to_context: bool = False
    effort_param: str = "reasoning_effort"

    @property
    def media(self) -> tuple[ImagePart | VideoPart, ...]:
        """Every image and video of the conversation in reading order."""
        return tuple(
            part
            for message in self.messages
            if not isinstance(message.content, str)
            for part in message.content
            if not isinstance(part, TextPart)
        )
