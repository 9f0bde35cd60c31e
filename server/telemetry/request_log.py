"""One log line for each finished request: what it was, how it ended, how long each stage took, and its tokens.

Texts are in it only where the settings ask for them, and then with what looks like a secret taken out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from server.telemetry.logs import get_logger
from server.telemetry.record import RequestRecord

_log = get_logger("requests")

REDACTED = "[redacted]"
_LONGEST_TEXT = 8192

DEFAULT_PATTERNS = (
    # E-mail addresses, keys as they are commonly written, and numbers of cards and accounts.
    r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}",
    r"\b(?:sk|pk|ghp|gho|xox[abp])[-_][A-Za-z0-9_-]{8,}",
    r"\b(?:\d[ -]?){12,18}\d\b",
)


class Redaction:
    """Takes out of a text whatever one of `patterns` (regular expressions) matches, and cuts it at 8192 characters."""

    def __init__(self, patterns: Sequence[str] = DEFAULT_PATTERNS) -> None:
        self._patterns = [re.compile(pattern) for pattern in patterns]

    def __call__(self, text: str) -> str:
        """The text as it may be logged."""
        # Cut first, with room for what redaction shortens: patterns are not run over megabytes.
        text = text[: 2 * _LONGEST_TEXT]
        for pattern in self._patterns:
            text = pattern.sub(REDACTED, text)
        return text[:_LONGEST_TEXT]


def request_logger(redact: Callable[[str], str]) -> Callable[[RequestRecord], None]:
    """What logs each record."""

    def log(record: RequestRecord) -> None:
        failed = record.result == "failed"
        (_log.warning if failed else _log.info)("request", **fields(record, redact))

    return log


def fields(record: RequestRecord, redact: Callable[[str], str]) -> dict[str, Any]:
    """The line's fields; times are in seconds."""
    tokens = record.tokens
    told: dict[str, Any] = {
        "request_id": record.request_id,
        "dialect": record.dialect,
        "model": record.model,
        "tenant": record.tenant,
        "key": record.key_id,
        "priority": record.priority,
        "stream": record.streamed,
        "status": record.status,
        "result": record.result,
        "outcome": record.outcome,
        "code": record.code,
        "seconds": round(record.seconds, 4),
        "ttft": None if record.ttft is None else round(record.ttft, 4),
        "tpot": None if record.tpot is None else round(record.tpot, 5),
        **{f"{stage}_seconds": round(seconds, 4) for stage, seconds in record.stage_seconds().items()},
        "prompt_tokens": tokens.prompt,
        "cached_tokens": tokens.cached,
        "completion_tokens": tokens.completion,
        "reasoning_tokens": tokens.reasoning,
        "answer_tokens": tokens.answer,
        "tool_tokens": tokens.tool,
        "effort": record.effort,
        "budget_hit": record.budget_hit or None,
        "cost_dollars": None if record.cost is None else round(record.cost.total, 9),
        "trace_id": None if record.span is None else record.span.trace_id,
        "prompt_text": None if record.prompt_text is None else redact(record.prompt_text),
        "answer_text": None if record.answer_text is None else redact(record.answer_text),
    }
    return {name: value for name, value in told.items() if value is not None and value != ""}
