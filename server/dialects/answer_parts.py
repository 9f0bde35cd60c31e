"""What OpenAI's answers share whatever was asked: their identity, the token counts, errors, the end of a stream."""

from __future__ import annotations

import time
import uuid
from typing import Any

import orjson

from server.generation.errors import RequestFailed
from server.generation.generation import Usage

DONE = b"data: [DONE]\n\n"


# Of an error's message or parameter, in characters.
_LONGEST_TOLD = 1000


class AnswerHead:
    """The identity of one answer, shared by all its frames. `prefix` begins its id; `tier` is told if it is given."""

    def __init__(self, model: str, fingerprint: str, prefix: str, tier: str | None = None) -> None:
        self.id = f"{prefix}-{uuid.uuid4().hex}"
        self.model = model
        self.fingerprint = fingerprint
        self.created = int(time.time())
        self.tier = tier

    def head(self, kind: str) -> dict[str, Any]:
        """The fields that every object of this answer starts with."""
        fields = {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }
        return fields if self.tier is None else {**fields, "service_tier": self.tier}


def usage_json(usage: Usage) -> dict[str, Any]:
    """OpenAI's usage object; with `cost`, in US dollars, for whom it is told to."""
    told: dict[str, Any] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
    return told if usage.cost is None else {**told, "cost": usage.cost}


def error_json(error: RequestFailed) -> dict[str, Any]:
    """OpenAI's error envelope. What a client sent may be in it, but never all of a megabyte."""
    return {
        "error": {
            "message": shortened(error.message),
            "type": error.type,
            "param": None if error.param is None else shortened(error.param),
            "code": error.code,
        },
    }


def shortened(text: str) -> str:
    """The text, or what of it there is room for in an error."""
    return text if len(text) <= _LONGEST_TOLD else f"{text[:_LONGEST_TOLD]}..."


def failed_frame(error: RequestFailed) -> bytes:
    """The frame that ends an answer which cannot be completed; no [DONE] follows a failure."""
    return b"data: " + orjson.dumps(error_json(error)) + b"\n\n"
