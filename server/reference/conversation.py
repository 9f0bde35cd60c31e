"""A conversation with its one right answer: what a task makes and training learns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from PIL import Image

Message = dict[str, Any]
Call = tuple[str, dict[str, Any]]


@dataclass(slots=True)
class Sample:
    """A conversation and its answer. Image parts in `messages` stand for `images`, in order."""

    skill: str
    messages: list[Message]
    thought: str
    content: str = ""
    calls: list[Call] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    images: list[Image.Image] = field(default_factory=list)


def user(text: str) -> Message:
    """A user's message."""
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    """An assistant's message."""
    return {"role": "assistant", "content": text}
