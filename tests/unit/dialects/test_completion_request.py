from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from server.dialects.completion_request import CompletionRequest, to_raw_prompts
from server.dialects.limits import Limits
from server.dialects.parsing import parse_body
from server.generation.errors import InvalidRequest
from server.generation.raw_prompt import RawPrompt

LIMITS = Limits(messages=10, tools=3, schema_bytes=1000, prompts=4)


def prompts(prompt: Any = "hello", **fields: Any) -> Sequence[RawPrompt]:
    body = {"model": "m", "prompt": prompt, **fields}
    return to_raw_prompts(parse_body(CompletionRequest, json.dumps(body).encode()), LIMITS)


@pytest.mark.parametrize(
    ("prompt", "read"),
    [
        ("a", [("a", "prompt")]),
        (["a", "b"], [("a", "prompt[0]"), ("b", "prompt[1]")]),
        ([1, 2], [([1, 2], "prompt")]),
        ([[1, 2], [3]], [([1, 2], "prompt[0]"), ([3], "prompt[1]")]),
    ],
)
def test_the_four_forms_of_a_prompt(prompt: Any, read: list[Any]) -> None:
    assert [(each.prompt, each.param) for each in prompts(prompt)] == read


@pytest.mark.parametrize(
    "prompt", [None, 5, True, {}, [], [[]], [[1], []], [1, "a"], ["a", [1]], [True], [1.5], [[[1]]]]
)
def test_what_is_no_prompt(prompt: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        prompts(prompt)
    assert (refused.value.param, refused.value.status) == ("prompt", 400)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["a"] * 5}, "prompt"),
        ({"prompt": ["a"] * 4, "n": 33}, "n"),
        ({"n": 129}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"min_tokens": 17}, "min_tokens"),
        ({"min_tokens": 3, "max_tokens": 2}, "min_tokens"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": -1}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": 0, "echo": True}, "logprobs"),
        ({"best_of": 2}, "best_of"),
        ({"best_of": 3, "n": 2}, "best_of"),
        ({"suffix": "x"}, "suffix"),
        ({"echo": "yes"}, "echo"),
        ({"messages": [{}]}, "messages"),
        ({"tools": [{}]}, "tools"),
        ({"enable_thinking": True}, "enable_thinking"),
        ({"prompt_logprobs": 1}, "prompt_logprobs"),
        ({"prompt_embeds": "x"}, "prompt_embeds"),
        ({"temperature": 3}, "temperature"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"guided_regex": "a", "structured_outputs": {"choice": ["b"]}}, "guided_regex"),
        ({"guided_regex": "a" * 1000}, "guided_regex"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        prompts(**fields)
    assert (refused.value.param, refused.value.status) == (param, 400)


def test_what_is_asked_reaches_the_core() -> None:
    (raw,) = prompts(
        n=2, best_of=2, echo=True, max_tokens=5, seed=7, top_k=-1, cache_salt="s", add_special_tokens=False, stop="x"
    )
    assert (raw.answers, raw.echo, raw.max_tokens, raw.cache_salt, raw.add_special_tokens) == (2, True, 5, "s", False)
    assert (raw.sampling.seed, raw.sampling.top_k, raw.sampling.stop) == (7, 0, ("x",))


def test_what_is_not_asked_is_openais_default() -> None:
    (raw,) = prompts()
    assert (raw.answers, raw.echo, raw.max_tokens, raw.default_max_tokens) == (1, False, None, 16)
    assert raw.sampling.skip_special_tokens
    assert raw.sampling.logprobs is None
    assert prompts(logprobs=0)[0].sampling.logprobs == 0
    assert not prompts(skip_special_tokens=False)[0].sampling.skip_special_tokens


def test_unknown_fields_are_accepted_and_reported() -> None:
    body = json.dumps({"model": "m", "prompt": "x", "zeta": 1, "suffix": None, "user": "u"}).encode()
    assert parse_body(CompletionRequest, body).ignored == ["zeta"]
