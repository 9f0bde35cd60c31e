"""What OpenAI's answers share whatever was asked: their identity, the token counts, errors, the end of a stream."""

from __future__ import annotations

import time
import uuid
from typing import Any

import orjson

from server.generation.errors import RequestFailed
from server.generation.generation import Usage

DONE = b"data: [DONE]\n\n"


class AnswerHead:
    """The identity of one answer, shared by all its frames; `prefix` begins its id."""

    def __init__(self, model: str, fingerprint: str, prefix: str) -> None:
        self.id = f"{prefix}-{uuid.uuid4().hex}"
        self.model = model
        self.fingerprint = fingerprint
        self.created = int(time.time())

    def head(self, kind: str) -> dict[str, Any]:
        """The fields that every object of this answer starts with."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def usage_json(usage: Usage) -> dict[str, Any]:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def error_json(error: RequestFailed) -> dict[str, Any]:
    """OpenAI's error envelope."""
    return {
        "error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code},
    }


def failed_frame(error: RequestFailed) -> bytes:
    """The frame that ends an answer which cannot be completed; no [DONE] follows a failure."""
    return b"data: " + orjson.dumps(error_json(error)) + b"\n\n"
