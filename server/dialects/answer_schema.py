"""What answers look like, for the OpenAPI document. Nothing is built from these models: answers are written as bytes.

A test holds what chat_response writes against them, and schemathesis does so over HTTP.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Told(BaseModel):
    """A part of an answer: all of its fields are known."""

    model_config = ConfigDict(strict=True, extra="forbid")


class CalledFunction(Told):
    """What is called; `arguments` is JSON in a string."""

    name: str
    arguments: str


class ToolCall(Told):
    """A call that the client is asked to make."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class AnswerMessage(Told):
    """What the model says; its thinking is under both of the two names in use."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    reasoning: str | None
    reasoning_content: str | None
    tool_calls: list[ToolCall] = []


class TokenLogprob(Told):
    """A token, how likely it was, and its bytes."""

    token: str
    logprob: float
    bytes: list[int]


class ChosenTokenLogprob(TokenLogprob):
    """A token of the answer, and the likeliest at its place."""

    top_logprobs: list[TokenLogprob]


class Logprobs(Told):
    """The tokens of an answer or of a piece of it."""

    content: list[ChosenTokenLogprob]
    refusal: None


class Choice(Told):
    """An answer, and why it ended. `token_ids` is there when it was asked for."""

    index: int
    message: AnswerMessage
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]
    token_ids: list[int] = []


class PromptTokens(Told):
    """Of the prompt's tokens, those that were in the cache."""

    cached_tokens: int


class CompletionTokens(Told):
    """Of the answer's tokens, those of the thinking."""

    reasoning_tokens: int


class TokenUsage(Told):
    """The tokens of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokens
    completion_tokens_details: CompletionTokens


class ChatCompletion(Told):
    """The whole answer to a chat request."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    service_tier: Literal["priority", "default", "flex"] = "default"
    choices: list[Choice]
    usage: TokenUsage
    prompt_token_ids: list[int] = []


class CalledFunctionDelta(Told):
    """The name in the first piece of a call, then its arguments bit by bit."""

    name: str | None = None
    arguments: str


class ToolCallDelta(Told):
    """A piece of the call at `index`; `id` and `type` are in the first."""

    index: int
    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunctionDelta


class AnswerDelta(Told):
    """A piece of the answer."""

    role: Literal["assistant"] = "assistant"
    content: str = ""
    reasoning: str = ""
    reasoning_content: str = ""
    tool_calls: list[ToolCallDelta] = []


class ChoiceDelta(Told):
    """A piece of an answer, and in the last piece why it ended."""

    index: int
    delta: AnswerDelta
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"] | None
    token_ids: list[int] = []


class ChatCompletionChunk(Told):
    """One event of a streamed answer; `usage` is there when it was asked for."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    service_tier: Literal["priority", "default", "flex"] = "default"
    choices: list[ChoiceDelta]
    usage: TokenUsage | None = None
    prompt_token_ids: list[int] = []


class CompletionLogprobs(Told):
    """The tokens of an answer or of a piece of it, in four lists of the same length."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(Told):
    """An answer, and why it ended. The ids are there when they were asked for."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"]
    prompt_token_ids: list[int] = []
    token_ids: list[int] = []


class Completion(Told):
    """The whole answer to a completions request."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: TokenUsage


class CompletionChoicePiece(Told):
    """A piece of an answer, and in the last piece why it ended."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    prompt_token_ids: list[int] = []
    token_ids: list[int] = []


class CompletionPiece(Told):
    """One event of a streamed answer; `usage` is there when it was asked for."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoicePiece]
    usage: TokenUsage | None = None


class Failure(Told):
    """What went wrong; `param` names the field in question."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(Told):
    """Every failure, on every route."""

    error: Failure
