"""A prompt as the client wrote it: what requests without messages are parsed into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from server.generation.conversation import Sampling, Structure


@dataclass(frozen=True, slots=True)
class RawPrompt:
    """Text or token ids to go on with, with no template around them; `param` is its place in the request, for errors.

    Nothing in it opens thinking or tool calls: what comes is text, and `structure` binds it from its first token.
    `add_special_tokens` lets the tokenizer put its own before the text. `echo` is whether the prompt's text is wanted
    back. `answers`, `whole`, `cache_salt` and `max_tokens` are those of a Conversation; `default_max_tokens` stands
    where the request does not say and shrinks to what is left of the context.
    """

    prompt: str | Sequence[int]
    param: str = "prompt"
    add_special_tokens: bool = True
    echo: bool = False
    structure: Structure | None = None
    answers: int = 1
    whole: bool = False
    cache_salt: str | None = None
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    default_max_tokens: int | None = None
