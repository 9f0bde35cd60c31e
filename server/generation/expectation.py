"""What a request will take, known from its text alone, before anything is rendered."""

from __future__ import annotations

from dataclasses import dataclass

from server.generation.conversation import Conversation, TextPart, VideoPart
from server.generation.raw_prompt import RawPrompt

# Qwen3.5's tokenizer, on prose and code alike; an image and a short video of common size; what the template writes
# around a message.
_CHARACTERS_PER_TOKEN = 3.5
_IMAGE_TOKENS = 256
_VIDEO_TOKENS = 4096
_MESSAGE_TOKENS = 5


@dataclass(frozen=True, slots=True)
class Expectation:
    """Tokens of its prompt (a guess), and at most of each of its answers; `bounded` if the request says so itself."""

    prompt_tokens: int
    max_tokens: int
    bounded: bool
    answers: int
    thinking: bool
    effort: str | None


def guessed_tokens(conversation: Conversation) -> int:
    """Prompt tokens of a conversation."""
    characters = sum(len(str(tool.parameters)) + len(tool.description or "") for tool in conversation.tools)
    for message in conversation.messages:
        characters += len(message.reasoning or "") + sum(len(str(call.arguments)) for call in message.tool_calls)
        if isinstance(message.content, str):
            characters += len(message.content)
        else:
            characters += sum(len(part.text) for part in message.content if isinstance(part, TextPart))
    shown = sum(_VIDEO_TOKENS if isinstance(part, VideoPart) else _IMAGE_TOKENS for part in conversation.media)
    return int(characters / _CHARACTERS_PER_TOKEN) + shown + len(conversation.messages) * _MESSAGE_TOKENS


def guessed_raw_tokens(raw: RawPrompt) -> int:
    """Prompt tokens of a raw prompt; exact where it is given as tokens."""
    return int(len(raw.prompt) / _CHARACTERS_PER_TOKEN) if isinstance(raw.prompt, str) else len(raw.prompt)
