"""Steers what schemathesis sends, so that requests get past the first checks and none of them runs for long.

Only values that the schema allows are replaced or added: what was generated to be wrong stays wrong.
"""

from __future__ import annotations

import itertools
from typing import Any

import schemathesis

from tests.daemon_process import MODEL

TOKENS = 4
VOCABULARY = 1000
STREAMED = itertools.cycle([True, False])


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    if isinstance(case.body, dict):
        case.body = _steered(case.body)


def _steered(body: dict[str, Any]) -> dict[str, Any]:
    steered = dict(body)
    # A made-up model is a 404 whatever else the request holds.
    if isinstance(steered.get("model"), str):
        steered["model"] = MODEL
    # Generated ids are seldom in a small vocabulary, and so many tokens are never in one.
    for name in ("prompt", "tokens"):
        if name in steered:
            steered[name] = _in_vocabulary(steered[name])
    # The template refuses a conversation in which no user speaks, and generated ones seldom have one.
    if isinstance(steered.get("messages"), list) and steered["messages"]:
        steered["messages"] = [{"role": "user", "content": "Hello!"}, *steered["messages"]]
    if isinstance(steered.get("input"), list) and steered["input"]:
        steered["input"] = [{"role": "user", "content": "Hello!"}, *steered["input"]]
    # No generated id is one that was given out.
    if isinstance(steered.get("previous_response_id"), str):
        steered["previous_response_id"] = None
    if _allowed(steered.get("max_completion_tokens")):
        steered["max_completion_tokens"] = TOKENS
    if not {"messages", "prompt", "input"} & set(steered):
        return steered
    bound = "max_output_tokens" if "input" in steered else "max_tokens"
    if steered.get(bound) is None or _allowed(steered[bound]):
        steered[bound] = TOKENS
    # Each answer costs as much as a request of its own.
    if _allowed(steered.get("n")):
        steered["n"] = min(steered["n"], 2)
    # Left to chance, one request in a thousand asks for a stream.
    if steered.get("stream") is None and next(STREAMED):
        steered["stream"] = True
    return steered


def _in_vocabulary(value: Any) -> Any:
    """The same with each id that is a natural number brought into the vocabulary."""
    if isinstance(value, list):
        return [_in_vocabulary(each) for each in value]
    return value % VOCABULARY if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else value


def _allowed(tokens: Any) -> bool:
    return isinstance(tokens, int) and not isinstance(tokens, bool) and tokens > 0
