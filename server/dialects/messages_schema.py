"""What answers to Anthropic's routes look like, for the OpenAPI document; see `answer_schema`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from server.dialects.answer_schema import Told

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]


class TextBlock(Told):
    """What the model says."""

    type: Literal["text"]
    text: str


class ThinkingBlock(Told):
    """What the model thinks, and a signature that goes back with it."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class ToolUseBlock(Told):
    """A call that the client is asked to make."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


MessageBlock = Annotated[TextBlock | ThinkingBlock | ToolUseBlock, Field(discriminator="type")]


class OutputTokens(Told):
    """Of the answer's tokens, those of the thinking."""

    thinking_tokens: int


class DeltaUsage(Told):
    """The tokens of a request: of the prompt those that were in no cache and those that were, and of the answer."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: OutputTokens


class MessageUsage(DeltaUsage):
    """The same, and the tier that the request is served in."""

    service_tier: Literal["priority", "standard", "batch"]


class AnswerInMessage(Told):
    """The answer to POST /v1/messages; in `message_start` it has no content yet."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[MessageBlock]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: MessageUsage


class MessageStarted(Told):
    """The first event of an answer."""

    type: Literal["message_start"]
    message: AnswerInMessage


class Ping(Told):
    """Nothing, but the answer is being made."""

    type: Literal["ping"]


class BlockStarted(Told):
    """A block begins, without its content."""

    type: Literal["content_block_start"]
    index: int
    content_block: MessageBlock


class BlockTextDelta(Told):
    """More text."""

    type: Literal["text_delta"]
    text: str


class BlockThinkingDelta(Told):
    """More thinking."""

    type: Literal["thinking_delta"]
    thinking: str


class BlockSignatureDelta(Told):
    """The thinking's signature, at its end."""

    type: Literal["signature_delta"]
    signature: str


class BlockInputDelta(Told):
    """More of a call's input: concatenated, its pieces are one JSON object."""

    type: Literal["input_json_delta"]
    partial_json: str


class BlockGrown(Told):
    """A block grows."""

    type: Literal["content_block_delta"]
    index: int
    delta: Annotated[
        BlockTextDelta | BlockThinkingDelta | BlockSignatureDelta | BlockInputDelta, Field(discriminator="type")
    ]


class BlockStopped(Told):
    """A block is whole."""

    type: Literal["content_block_stop"]
    index: int


class Ending(Told):
    """Why the answer ended."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageEnding(Told):
    """How the answer ended, and what it took."""

    type: Literal["message_delta"]
    delta: Ending
    usage: DeltaUsage


class MessageStopped(Told):
    """The last event of an answer."""

    type: Literal["message_stop"]


class MessageEvent(
    RootModel[
        Annotated[
            MessageStarted | Ping | BlockStarted | BlockGrown | BlockStopped | MessageEnding | MessageStopped,
            Field(discriminator="type"),
        ]
    ]
):
    """One event of a streamed answer."""


class TokensCounted(Told):
    """The answer to POST /v1/messages/count_tokens."""

    input_tokens: int


class MessageFailureDetails(Told):
    """The failure's code, and the field in question."""

    error_code: str | None
    param: str | None


class MessageFailure(Told):
    """What went wrong."""

    type: Literal[
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
        "rate_limit_error",
        "api_error",
        "overloaded_error",
        "timeout_error",
    ]
    message: str
    details: MessageFailureDetails


class MessageErrorEnvelope(Told):
    """Every failure on Anthropic's routes; `request_id` is also in the header `request-id`."""

    type: Literal["error"]
    error: MessageFailure
    request_id: str


class ModelInfo(Told):
    """Anthropic's description of a model."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"]
    max_input_tokens: int | None
    max_tokens: int | None


class ModelInfoList(Told):
    """Anthropic's list of models, all on one page."""

    data: list[ModelInfo]
    has_more: Literal[False]
    first_id: str | None
    last_id: str | None
