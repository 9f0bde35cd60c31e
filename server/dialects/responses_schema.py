"""What answers to the Responses routes look like, for the OpenAPI document; see `answer_schema`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from server.dialects.answer_schema import ChosenTokenLogprob, Told

ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputText(Told):
    """What the model says."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[ChosenTokenLogprob]


class ReasoningText(Told):
    """What the model thinks."""

    type: Literal["reasoning_text"]
    text: str


class SummaryText(Told):
    """What the model thinks, where a summary was asked for; it is not shortened."""

    type: Literal["summary_text"]
    text: str


class OutputMessage(Told):
    """An answer to the user."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: ItemStatus
    content: list[OutputText]


class ReasoningItem(Told):
    """The model's thinking; `encrypted_content` has it once more for clients that send it back, if it is included."""

    id: str
    type: Literal["reasoning"]
    summary: list[SummaryText]
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    status: ItemStatus


class FunctionCallItem(Told):
    """A call that the client is asked to make; `arguments` is JSON in a string."""

    id: str
    type: Literal["function_call"]
    call_id: str
    name: str
    namespace: str | None = None
    arguments: str
    status: ItemStatus


ResponseItem = Annotated[OutputMessage | ReasoningItem | FunctionCallItem, Field(discriminator="type")]


class InputTokensDetails(Told):
    """Of the prompt's tokens, those that were in the cache, and those that writing to it was charged for: none."""

    cached_tokens: int
    cache_write_tokens: Literal[0]


class OutputTokensDetails(Told):
    """Of the answer's tokens, those of the thinking."""

    reasoning_tokens: int


class ResponseUsage(Told):
    """The tokens of a request."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseFailure(Told):
    """Why a response failed."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class IncompleteDetails(Told):
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens"]


class ToldReasoning(Told):
    """What was asked of the thinking."""

    effort: str | None
    summary: Literal["auto", "concise", "detailed"] | None


class ToldText(Told):
    """The form that was asked for."""

    format: dict[str, Any]
    verbosity: Literal["low", "medium", "high"]


class ToldFunction(Told):
    """A function that the model was given."""

    type: Literal["function"]
    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool


class ToldNamespace(Told):
    """Functions under a common name."""

    type: Literal["namespace"]
    name: str
    description: str
    tools: list[ToldFunction]


class ResponseObject(Told):
    """A response, finished or not, with what its request asked."""

    id: str
    object: Literal["response"]
    created_at: int
    status: ResponseStatus
    error: ResponseFailure | None
    incomplete_details: IncompleteDetails | None
    output: list[ResponseItem]
    completed_at: int | None
    usage: ResponseUsage | None
    model: str
    instructions: str | None
    previous_response_id: str | None
    background: bool
    store: bool
    metadata: dict[str, str]
    max_output_tokens: int | None
    max_tool_calls: int | None
    parallel_tool_calls: bool
    prompt_cache_key: str | None
    reasoning: ToldReasoning
    safety_identifier: str | None
    service_tier: Literal["priority", "default", "flex"] | None
    temperature: float | None
    text: ToldText
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any]
    tools: list[Annotated[ToldFunction | ToldNamespace, Field(discriminator="type")]]
    top_logprobs: int
    top_p: float | None
    truncation: Literal["auto", "disabled"]
    user: str | None


class _Numbered(Told):
    sequence_number: int


class _OfItem(_Numbered):
    item_id: str
    output_index: int


class ResponseChanged(_Numbered):
    """The response is there, waits, is being made, or has ended."""

    type: Literal[
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
    response: ResponseObject


class ItemChanged(_Numbered):
    """An item begins, without its content, or is whole."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int
    item: ResponseItem


class PartChanged(_OfItem):
    """A part of a message or of the thinking begins or is whole."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    content_index: int
    part: Annotated[OutputText | ReasoningText, Field(discriminator="type")]


class SummaryPartChanged(_OfItem):
    """A part of the thinking's summary begins or is whole."""

    type: Literal["response.reasoning_summary_part.added", "response.reasoning_summary_part.done"]
    summary_index: int
    part: SummaryText


class OutputTextDelta(_OfItem):
    """More text."""

    type: Literal["response.output_text.delta"]
    content_index: int
    delta: str
    logprobs: list[ChosenTokenLogprob]


class OutputTextDone(_OfItem):
    """A text is whole."""

    type: Literal["response.output_text.done"]
    content_index: int
    text: str
    logprobs: list[ChosenTokenLogprob]


class ReasoningTextDelta(_OfItem):
    """More thinking."""

    type: Literal["response.reasoning_text.delta"]
    content_index: int
    delta: str


class ReasoningTextDone(_OfItem):
    """A thinking is whole."""

    type: Literal["response.reasoning_text.done"]
    content_index: int
    text: str


class SummaryTextDelta(_OfItem):
    """More thinking, shown as a summary."""

    type: Literal["response.reasoning_summary_text.delta"]
    summary_index: int
    delta: str


class SummaryTextDone(_OfItem):
    """A summary is whole."""

    type: Literal["response.reasoning_summary_text.done"]
    summary_index: int
    text: str


class ArgumentsDelta(_OfItem):
    """More of a call's arguments: concatenated, its pieces are one JSON object."""

    type: Literal["response.function_call_arguments.delta"]
    delta: str


class ArgumentsDone(_OfItem):
    """A call is whole."""

    type: Literal["response.function_call_arguments.done"]
    name: str
    arguments: str


class ResponseEvent(
    RootModel[
        Annotated[
            ResponseChanged
            | ItemChanged
            | PartChanged
            | SummaryPartChanged
            | OutputTextDelta
            | OutputTextDone
            | ReasoningTextDelta
            | ReasoningTextDone
            | SummaryTextDelta
            | SummaryTextDone
            | ArgumentsDelta
            | ArgumentsDone,
            Field(discriminator="type"),
        ]
    ]
):
    """One event of a streamed response."""


class InputTokens(Told):
    """The answer to POST /v1/responses/input_tokens."""

    object: Literal["response.input_tokens"]
    input_tokens: int


class ResponseDeleted(Told):
    """The answer to DELETE /v1/responses/{id}."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class InputItems(Told):
    """Items that led to a response, of which there may be more after `last_id`."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool
