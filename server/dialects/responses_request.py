"""OpenAI's Responses request: every parameter, decided, and how it becomes a Conversation.

Beside OpenAI's own there are those of vLLM's server for the same route. A field that nobody knows is accepted and
reported back in a response header, as in the other dialects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from server.dialects.chat_messages import Wire
from server.dialects.chat_options import (
    ChatTemplateArgumentsIn,
    JsonObjectFormatIn,
    ProcessorArgumentsIn,
    StructuredOutputsIn,
    TextFormatIn,
    to_structure,
    with_processor_arguments,
)
from server.dialects.decisions import Refused, ignored, option, refused
from server.dialects.generation_request import SampledRequest, bounded, bounded_structure, to_sampling
from server.dialects.limits import Limits
from server.dialects.responses_items import ItemIn, ItemReferenceIn, ItemsIn, MessageIn, to_messages
from server.dialects.responses_tools import AnyToolIn, ToolChoiceIn, functions, left_out, to_tools
from server.generation.conversation import Conversation, Message, Structure
from server.generation.errors import InvalidRequest

_MOST_TOP_LOGPROBS = 20
_MOST_METADATA = 16

Summary = Literal["auto", "concise", "detailed"]
Include = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]


class ReasoningOptionsIn(Wire):
    """How much to think, and how the thinking is shown: with a `summary`, as one; it is never shortened. `context`
    `all_turns` keeps the thinking of earlier turns in the prompt. A `mode` has no effect.
    """

    effort: str | None = None
    summary: Summary | None = None
    generate_summary: Summary | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None


class JsonSchemaFormatIn(Wire):
    """JSON by a schema; the answer keeps to it whether it is `strict` or not."""

    model_config = ConfigDict(strict=True, extra="ignore", populate_by_name=True)

    type: Literal["json_schema"]
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextOptionsIn(Wire):
    """The form of the answer. The model knows no `verbosity`."""

    format: Annotated[TextFormatIn | JsonObjectFormatIn | JsonSchemaFormatIn, Field(discriminator="type")] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponsesRequest(SampledRequest):
    """The body of POST /v1/responses."""

    input: str | Annotated[ItemsIn, Field(min_length=1, fail_fast=True)] = Field(
        description="A text, or items: messages, reasoning, calls and their outputs, references to stored items."
    )
    instructions: str | None = option("System text before everything else; not carried over to later responses.")
    previous_response_id: str | None = option("Goes on from a stored response of the same key.", max_length=256)
    store: bool | None = option("Whether the response is kept, for `previous_response_id` and GET; kept unless false.")
    background: bool | None = option("Answers at once; the response is made meanwhile and stored.")
    stream: bool | None = option("Server-sent events instead of one body.")

    tools: list[AnyToolIn] | None = option(
        "Functions, alone or in a `namespace`; `strict` ones bind their arguments by a grammar. A web search is left "
        "out, and told in the header."
    )
    tool_choice: ToolChoiceIn | None = option("`auto`, `none`, `required`, a function, or `allowed_tools`.")
    parallel_tool_calls: bool | None = option("False allows one call at most.")

    reasoning: ReasoningOptionsIn | None = option(
        "`effort`: a thinking budget by name, see the setting `generation.effort_budgets`; `summary` shows the "
        "thinking as one; `context` `all_turns` keeps earlier thinking."
    )
    include_reasoning: bool | None = option("False leaves the thinking out of the answer; it is made all the same.")
    enable_thinking: bool | None = option("Thinking on or off.")
    thinking_budget: int | None = option("Most tokens of thinking; 0 switches it off.", ge=0)
    include: list[Include] | None = option(
        "`reasoning.encrypted_content` for clients that keep the history themselves; `message.output_text.logprobs`; "
        "others have no effect.",
        max_length=64,
    )
    text: TextOptionsIn | None = option("`format`: `text`, `json_object` or `json_schema`; binds the answer alone.")
    max_output_tokens: int | None = option(
        "Longest answer, thinking included; what the context has no room for is cut off.", ge=1
    )
    truncation: Literal["auto", "disabled"] | None = option(
        "`auto` leaves out the oldest items that the context has no room for, instead of an error."
    )
    structured_outputs: StructuredOutputsIn | None = option(
        "One of `json`, `regex`, `choice`, `grammar`, `json_object`, instead of `text.format`."
    )
    chat_template_kwargs: ChatTemplateArgumentsIn | None = option("`enable_thinking` and others of the template's.")
    top_logprobs: int | None = option(
        "That many likeliest tokens at each place of the text.", ge=0, le=_MOST_TOP_LOGPROBS
    )
    mm_processor_kwargs: ProcessorArgumentsIn | None = option("`min_pixels`, `max_pixels` of images.")
    cache_salt: str | None = option(
        "Only requests of the same salt share cached prefixes.", min_length=1, max_length=256
    )
    service_tier: str | None = option(
        "Priority class: `priority`, `fast` are interactive, `default` standard, `flex` batch, `auto` the tenant's."
    )
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None = option(
        "For your own records: stored and told.", max_length=_MOST_METADATA
    )

    user: str | None = ignored("Whose request it is; for your own records.", max_length=1024)
    safety_identifier: str | None = ignored("As `user`.", max_length=1024)
    prompt_cache_key: str | None = ignored("Prefixes are cached whoever sends them; see `cache_salt`.", max_length=1024)
    prompt_cache_retention: str | None = ignored("The engine keeps prefixes while it has room.", max_length=64)
    prompt_cache_options: dict[str, Any] | None = ignored("As `prompt_cache_retention`.")
    stream_options: dict[str, Any] | None = ignored("Nothing is obfuscated; tokens are counted in the last event.")
    max_tool_calls: int | None = ignored("Bounds calls that a server makes; here the client makes them.")
    background_options: dict[str, Any] | None = ignored("It begins as soon as there is room.")
    context_management: list[Any] | None = ignored("The conversation is read as it is; see `truncation`.")
    image: dict[str, Any] | None = ignored("See `mm_processor_kwargs`.")
    access_programs: dict[str, Any] | None = ignored("Of OpenAI's alone.")
    priority: int | None = ignored("The engine's own order is not for clients to set; see `service_tier`.")
    request_id: str | None = ignored("The server gives out the ids.")
    session_id: str | None = ignored("Prefixes are cached whoever sends them.")
    skip_special_tokens: bool | None = ignored("Special tokens are never shown; the thinking's and calls' are read.")
    personality: str | None = ignored("The model has none to choose from.", max_length=64)
    mm_payload: str | None = ignored("Of vLLM's rendering endpoints alone.")
    return_mm_kwargs: bool | None = ignored("As `mm_payload`.")

    conversation: Refused = refused("Use `previous_response_id`, or send the whole conversation.")
    prompt: Refused = refused("No prompts are stored here; send it in `input`.")
    moderation: Refused = refused("Nothing is moderated here.")
    logit_bias: Refused = refused("Belongs to chat completions.")
    media_io_kwargs: Refused = refused("The server decodes images itself; see `mm_processor_kwargs`.")
    watermarking: Refused = refused("The engine is not set up for it.")
    previous_input_messages: Refused = refused("Of another model's form; send items in `input`.")
    enable_response_messages: Refused = refused("Of another model's form; the output's items tell the same.")
    kv_transfer_params: Refused = refused("Belongs between servers.")
    ec_transfer_params: Refused = refused("Belongs between servers.")
    vllm_xargs: Refused = refused("The engine would trust them.")

    @property
    def ignored(self) -> list[str]:
        """Names of the fields that this server does not know, and of the tools that the model is not given."""
        return super().ignored + left_out(self.tools)

    @property
    def items(self) -> list[ItemIn]:
        """The input as items; they may hold references, which are not resolved yet."""
        return (
            [MessageIn(type="message", role="user", content=self.input)] if isinstance(self.input, str) else self.input
        )

    @property
    def references(self) -> list[str]:
        """Ids of the stored items that the input refers to."""
        return [item.id for item in self.items if isinstance(item, ItemReferenceIn)]

    @property
    def summarized(self) -> bool:
        """Whether the thinking is shown as a summary."""
        return self.reasoning is not None and bool(self.reasoning.summary or self.reasoning.generate_summary)

    def included(self, what: str) -> bool:
        """Whether the answer is to have this beside what it always has."""
        return what in (self.include or ())


class CountInputRequest(ResponsesRequest):
    """The body of POST /v1/responses/input_tokens: that of a request for a response, of which the prompt counts."""


def resolved_items(request: ResponsesRequest, found: Mapping[str, ItemIn]) -> list[ItemIn]:
    """The input's items, with what `found` has for its references. Raises InvalidRequest for one that is not there."""
    made: list[ItemIn] = []
    for index, item in enumerate(request.items):
        if not isinstance(item, ItemReferenceIn):
            made.append(item)
        elif item.id in found:
            made.append(found[item.id])
        else:
            raise InvalidRequest(
                f"Item with id {item.id!r} not found: it was not stored, or is stored no more.",
                param=f"input[{index}].id",
                code="item_not_found",
            )
    return made


def to_conversation(
    request: ResponsesRequest, earlier: Sequence[ItemIn], own: Sequence[ItemIn], limits: Limits
) -> Conversation:
    """The request in the core's terms: `earlier` are the items of the responses before it, `own` its input's.

    Raises InvalidRequest where it is over a limit or makes no sense.
    """
    bounded(len(earlier) + len(own), limits.messages, "input", "items")
    bounded(len(functions(request.tools)), limits.tools, "tools")
    tools, choice = to_tools(request.tools, request.tool_choice, request.parallel_tool_calls)
    reasoning = request.reasoning
    logprobs = request.top_logprobs
    if logprobs is None and request.included("message.output_text.logprobs"):
        logprobs = 0
    return Conversation(
        messages=(
            *((Message("system", request.instructions),) if request.instructions else ()),
            *with_processor_arguments(
                to_messages([*earlier, *own], lambda index: _place(request, index - len(earlier))),
                request.mm_processor_kwargs,
                limits,
            ),
        ),
        tools=tools,
        tool_choice=choice,
        structure=bounded_structure(_form(request), limits),
        thinking=_thinking(request),
        thinking_budget=request.thinking_budget,
        effort=reasoning.effort if reasoning else None,
        effort_param="reasoning.effort",
        # Nobody reads what is made in the background before it has ended, unless it is streamed.
        whole=not request.stream,
        cache_salt=request.cache_salt,
        template_arguments=_template_arguments(request),
        sampling=to_sampling(request, logprobs=logprobs),
        max_tokens=request.max_output_tokens,
        max_tokens_param="max_output_tokens",
        cut_to_context=True,
    )


def _place(request: ResponsesRequest, index: int) -> str:
    if index < 0:
        return "previous_response_id"
    return "input" if isinstance(request.input, str) else f"input[{index}]"


def _form(request: ResponsesRequest) -> Structure | None:
    form = request.text.format if request.text else None
    structure = to_structure(None, request.structured_outputs, {})
    if form is None or isinstance(form, TextFormatIn):
        return structure
    if structure is not None:
        raise InvalidRequest(
            f"'text.format' and '{structure.param}' both ask for a form of the answer.", param=structure.param
        )
    if isinstance(form, JsonSchemaFormatIn):
        return Structure("json_schema", form.schema_, "text.format.schema")
    return Structure("json_object", param="text.format")


def _thinking(request: ResponsesRequest) -> bool | None:
    inner = request.chat_template_kwargs.enable_thinking if request.chat_template_kwargs else None
    return inner if request.enable_thinking is None else request.enable_thinking


def _template_arguments(request: ResponsesRequest) -> dict[str, Any]:
    given = request.chat_template_kwargs
    told = {} if given is None else given.model_dump(exclude_none=True, exclude={"enable_thinking"})
    if request.reasoning is not None and request.reasoning.context == "all_turns":
        told["preserve_thinking"] = True
    return told
