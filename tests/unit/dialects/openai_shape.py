"""An answer held against the `openai` package's own models: its types, and every field that they do not know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

# What we tell beyond OpenAI's API, on purpose: thinking under both names in use, and tokens where they were asked for.
EXTRAS = {
    "prompt_token_ids",
    "choices.token_ids",
    "choices.message.reasoning",
    "choices.message.reasoning_content",
    "choices.delta.reasoning",
    "choices.delta.reasoning_content",
}


def check(model: type[ChatCompletion | ChatCompletionChunk], raw: dict[str, Any]) -> Any:
    """The answer as the package's model; fails on a field that it does not know and that is not one of `EXTRAS`."""
    # Strict, so that "1" is no 1; the package itself checks nothing of what it reads.
    read = model.model_validate(raw, strict=True)
    unknown = {re.sub(r"\[\d+\]", "", path) for path in extras(read)} - EXTRAS
    assert not unknown, f"OpenAI's API has no {sorted(unknown)}"
    return read


def extras(value: Any, path: str = "") -> Iterator[str]:
    """Paths of the fields that a model of the package holds without knowing them."""
    if isinstance(value, BaseModel):
        yield from (f"{path}{name}" for name in value.model_extra or {})
        for name in type(value).model_fields:
            yield from extras(getattr(value, name), f"{path}{name}.")
    elif isinstance(value, list):
        for item in value:
            yield from extras(item, path)
