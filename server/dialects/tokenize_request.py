"""vLLM's requests to the tokenizer: every parameter, decided, and what their answers look like.

The chat form takes every field of a chat request, so that a client can ask what the very body that it is about to send
will cost; those that do not change the prompt have no effect.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, RootModel, Tag

from server.dialects.answer_schema import Told
from server.dialects.chat_request import ChatRequest, to_conversation
from server.dialects.decisions import option
from server.dialects.generation_request import bounded
from server.dialects.limits import Limits
from server.generation.conversation import Conversation
from server.generation.errors import InvalidRequest

_TEXT, _CHAT = "text form", "chat form"


class _TokenizerRequest(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    model: str | None = option("The served model's name or one of its aliases, if any.")

    @property
    def ignored(self) -> list[str]:
        """Names of the fields that this server does not know."""
        return sorted(self.model_extra or {})


class TokenizeTextRequest(_TokenizerRequest):
    """The body of POST /tokenize for a text."""

    prompt: str = Field(description="The text; special tokens written out in it are read as those tokens.")
    add_special_tokens: bool | None = option("False keeps the tokenizer from adding its own; Qwen's adds none.")
    return_token_strs: bool | None = option("Adds `token_strs`, the tokens as the vocabulary spells them.")


class TokenizeChatRequest(ChatRequest):
    """The body of POST /tokenize for a conversation."""

    model: str | None = option("The served model's name or one of its aliases, if any.")  # type: ignore[assignment]
    add_generation_prompt: bool | None = option("False leaves out the beginning of the answer.")
    return_token_strs: bool | None = option("Adds `token_strs`, the tokens as the vocabulary spells them.")


def _form(value: Any) -> str:
    return _CHAT if isinstance(value, dict) and "messages" in value else _TEXT


class TokenizeRequest(
    RootModel[
        Annotated[
            Annotated[TokenizeTextRequest, Tag(_TEXT)] | Annotated[TokenizeChatRequest, Tag(_CHAT)],
            Discriminator(_form),
        ]
    ]
):
    """The body of POST /tokenize: a text, or a conversation if it has `messages`."""


class DetokenizeRequest(_TokenizerRequest):
    """The body of POST /detokenize."""

    tokens: list[int] = Field(description="Token ids.")


class TokenizeAnswer(Told):
    """The tokens of a text or of a conversation's prompt."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeAnswer(Told):
    """The text of tokens."""

    prompt: str


def to_text(request: TokenizeTextRequest, limits: Limits) -> str:
    """The text. Raises InvalidRequest where it is too long."""
    size = len(request.prompt.encode(errors="surrogatepass"))
    if size > limits.tokenize_bytes:
        raise InvalidRequest(
            f"The text has {size} bytes; at most {limits.tokenize_bytes} are allowed.", param="prompt", code="too_large"
        )
    return request.prompt


def to_prompt(request: TokenizeChatRequest, limits: Limits) -> Conversation:
    """The conversation whose prompt is asked for. Raises InvalidRequest as `chat_request.to_conversation`."""
    if request.add_generation_prompt is not False or request.continue_final_message:
        return to_conversation(request, limits)
    conversation = to_conversation(request.model_copy(update={"add_generation_prompt": None}), limits)
    arguments = {**conversation.template_arguments, "add_generation_prompt": False}
    return replace(conversation, template_arguments=arguments)


def to_token_ids(request: DetokenizeRequest, limits: Limits) -> list[int]:
    """The token ids. Raises InvalidRequest where there are too many."""
    bounded(len(request.tokens), limits.detokenize_tokens, "tokens")
    return request.tokens
