"""Anthropic's Messages request: every parameter, decided, and how they become a Conversation.

Beside Anthropic's own there are those of vLLM's server for the same route. A field that nobody knows is accepted and
reported back in a response header, as in the other dialects.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.dialects.chat_messages import Wire
from server.dialects.decisions import Refused, ignored, option, refused
from server.dialects.generation_request import bounded, bounded_structure
from server.dialects.limits import Limits
from server.dialects.messages_blocks import MessageIn, TextsIn, to_messages
from server.dialects.messages_tools import ToolChoiceIn, ToolIn, to_tools
from server.generation.conversation import Conversation, Message, Sampling, Structure
from server.generation.errors import InvalidRequest

_MOST_STOPS = 16

Display = Literal["summarized", "omitted", "updates"]


class ThinkingOnIn(Wire):
    """Thinking in so many tokens at most. Anthropic asks for 1024 at least; here fewer do too."""

    type: Literal["enabled"]
    budget_tokens: int = Field(ge=1)
    display: Display | None = None


class ThinkingAdaptiveIn(Wire):
    """Thinking as long as `output_config.effort` allows, else without a bound."""

    type: Literal["adaptive"]
    display: Display | None = None


class ThinkingOffIn(Wire):
    """No thinking."""

    type: Literal["disabled"]


ThinkingIn = Annotated[ThinkingOnIn | ThinkingAdaptiveIn | ThinkingOffIn, Field(discriminator="type")]


class JsonFormatIn(Wire):
    """JSON by a schema."""

    model_config = ConfigDict(strict=True, extra="ignore", populate_by_name=True)

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfigIn(Wire):
    """How much effort the answer may cost, and its form. A `task_budget` has no effect."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormatIn | None = None


class MessagesRequest(BaseModel):
    """The body of POST /v1/messages."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str = Field(description="The served model's name or one of its aliases.")
    messages: list[MessageIn] = Field(
        min_length=1, fail_fast=True, description="The conversation; `docs/operations.md` says what each role may hold."
    )
    system: TextsIn | None = option("Instructions, a text or blocks of text.")
    tools: list[ToolIn] | None = option("The client's tools; `strict` ones bind their input by a grammar.")
    tool_choice: ToolChoiceIn | None = option("`auto`, `any`, `tool` or `none`, and `disable_parallel_tool_use`.")
    thinking: ThinkingIn | None = option(
        "`enabled` with `budget_tokens`, `adaptive` or `disabled`; without it, as the tenant or the settings say."
    )
    output_config: OutputConfigIn | None = option(
        "`effort`: a thinking budget by name, see the setting `generation.effort_budgets`; `format`: a JSON schema."
    )
    output_format: JsonFormatIn | None = option("The older name of `output_config.format`.")
    cache_salt: str | None = option(
        "Only requests of the same salt share cached prefixes.", min_length=1, max_length=256
    )
    speed: Literal["standard", "fast"] | None = option("`fast` is the priority class interactive, if the tenant may.")

    cache_control: dict[str, Any] | None = ignored("Every prefix is cached, whatever is marked, here and in blocks.")
    context_management: dict[str, Any] | None = ignored("The conversation is read as it is sent.")
    anthropic_version: str | None = ignored("Any version is taken, here and in the header `anthropic-version`.")
    anthropic_beta: list[str] | None = ignored("As the header `anthropic-beta`: features are told by their fields.")
    betas: list[str] | None = ignored("As `anthropic_beta`.")
    user_profile_id: str | None = ignored("For your own records.")
    workspace_id: str | None = ignored("For your own records.")

    mcp_servers: Refused = refused("Nothing is called from here; give the model a tool.")
    thread: dict[str, Any] | None = refused("Nothing is stored; send the whole conversation.")
    compaction: Refused = refused("Ask for a summary in a message.")
    chat_template_kwargs: Refused = refused("Use `thinking`.")

    max_tokens: int = Field(
        ge=1, description="Longest answer, thinking included; what the context has no room for is cut off."
    )
    stream: bool | None = option("Server-sent events instead of one body.")
    stop_sequences: list[Annotated[str, Field(min_length=1, max_length=256)]] | None = option(
        "Strings that end the answer.", max_length=_MOST_STOPS
    )
    temperature: float | None = option("0 draws the likeliest token.", ge=0, le=2)
    top_p: float | None = option("Draws among the likeliest tokens of this probability in all.", gt=0, le=1)
    top_k: int | None = option("Draws among that many tokens; 0 means all.", ge=0, le=1_000_000)
    service_tier: Literal["auto", "standard_only"] | None = option(
        "Priority class: `auto` is the tenant's, `standard_only` standard."
    )

    metadata: dict[str, Any] | None = ignored("Whose request it is (`user_id`); for your own records.")
    diagnostics: dict[str, Any] | None = ignored("`usage` says what was found in the cache.")
    inference_geo: str | None = ignored("The model runs where the server is.")
    fallbacks: Any = ignored("There is one model.")
    fallback_credit_token: Any = ignored("There is one model.")
    billing_policy: dict[str, Any] | None = ignored("Nobody is billed here.")
    mm_payload: str | None = ignored("Of vLLM's rendering endpoints alone.")
    return_mm_kwargs: bool | None = ignored("As `mm_payload`.")

    container: Refused = refused("Nothing is run here; give the model a tool.")
    kv_transfer_params: Refused = refused("Belongs between servers.")
    ec_transfer_params: Refused = refused("Belongs between servers.")
    vllm_xargs: Refused = refused("The engine would trust them.")
    watermarking: Refused = refused("The engine is not set up for it.")

    @property
    def ignored(self) -> list[str]:
        """Names of the fields that this server does not know."""
        return sorted(self.model_extra or {})

    @property
    def form(self) -> Structure | None:
        """The form that the answer must have. Raises InvalidRequest where two names ask for different ones."""
        newer, older = self.output_config.format if self.output_config else None, self.output_format
        if newer is not None and older is not None and newer != older:
            raise InvalidRequest(
                "`output_format` and `output_config.format` ask for different forms.", param="output_format"
            )
        if newer is not None:
            return Structure("json_schema", newer.schema_, "output_config.format.schema")
        return None if older is None else Structure("json_schema", older.schema_, "output_format.schema")

    @property
    def shows_thinking(self) -> bool:
        """Whether the thinking's text is in the answer."""
        return self.thinking is None or getattr(self.thinking, "display", None) != "omitted"

    @property
    def tier(self) -> str | None:
        """The priority class that is asked for, as OpenAI's service tier."""
        if self.service_tier == "standard_only":
            return "default"
        return "fast" if self.speed == "fast" else None


class CountTokensRequest(MessagesRequest):
    """The body of POST /v1/messages/count_tokens: that of a request for an answer, of which the prompt counts."""

    max_tokens: int | None = ignored("Nothing is made.")  # type: ignore[assignment]


def to_prompt(request: MessagesRequest, limits: Limits) -> Conversation:
    """What makes the prompt, in the core's terms. Raises InvalidRequest where it is over a limit or makes no sense."""
    if request.thread is not None:
        # By this code Anthropic's clients, which ask for a thread by themselves, go on without one.
        raise InvalidRequest(
            "Invalid 'thread': nothing is stored here; send the whole conversation without it.",
            param="thread",
            code="thread_unsupported_request",
        )
    bounded(len(request.messages), limits.messages, "messages")
    bounded(len(request.tools or ()), limits.tools, "tools")
    messages = to_messages(request.system, request.messages)
    tools, choice = to_tools(request.tools, request.tool_choice)
    thinking = request.thinking
    return Conversation(
        messages=messages,
        tools=tools,
        tool_choice=choice,
        structure=bounded_structure(request.form, limits),
        thinking=None if thinking is None else not isinstance(thinking, ThinkingOffIn),
        thinking_budget=thinking.budget_tokens if isinstance(thinking, ThinkingOnIn) else None,
        effort=request.output_config.effort if request.output_config else None,
        effort_param="output_config.effort",
        continue_final=_continues(messages),
        cache_salt=request.cache_salt,
    )


def to_conversation(request: MessagesRequest, limits: Limits) -> Conversation:
    """The request in the core's terms. Raises InvalidRequest as `to_prompt`, and for a budget above `max_tokens`."""
    thinking = request.thinking
    if isinstance(thinking, ThinkingOnIn) and thinking.budget_tokens >= request.max_tokens:
        raise InvalidRequest(
            "`thinking.budget_tokens` must be less than `max_tokens`, which counts the thinking too.",
            param="thinking.budget_tokens",
        )
    return replace(
        to_prompt(request, limits),
        sampling=Sampling(
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            stop=tuple(request.stop_sequences or ()),
        ),
        max_tokens=request.max_tokens,
        cut_to_context=True,
        whole=not request.stream,
    )


def _continues(messages: tuple[Message, ...]) -> bool:
    """Whether the answer goes on with the last message, as Anthropic's models do with one of the assistant's."""
    last = messages[-1]
    return (
        last.role == "assistant"
        and isinstance(last.content, str)
        and bool(last.content.strip())
        and not last.tool_calls
    )
