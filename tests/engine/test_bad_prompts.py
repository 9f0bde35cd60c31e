"""What the routes for raw prompts and tokens cannot serve is refused, names the parameter and disturbs nobody."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.chat_client import Streamed, body, long_body, stream
from tests.daemon_process import MODEL

pytestmark = pytest.mark.engine

DEEP = b'{"model": "' + MODEL.encode() + b'", "prompt": ' + b"[" * 100_000
# Four tokens in two characters: longer than the context, and not so much text that admission would refuse it unrendered
# for the time that so much takes on a slow machine.
LONG = "\u20ac " * 12_000
# More characters than a context of the longest tokens holds.
HUGE = "x" * 4_000_000


def prompt(prompt: Any = "Hello", **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": prompt, **fields}


def ids(*token_ids: Any) -> dict[str, Any]:
    return {"tokens": list(token_ids)}


CHAT = "/v1/chat/completions"
COMPLETIONS, TOKENIZE, DETOKENIZE = "/v1/completions", "/tokenize", "/detokenize"

# name -> (path, body, status, code, param)
CASES: dict[str, tuple[str, Any, int, str, str | None]] = {
    "not json": (COMPLETIONS, b"hello", 400, "invalid_json", None),
    "a list": (COMPLETIONS, b"[]", 400, "invalid_type", None),
    "deep json": (COMPLETIONS, DEEP, 400, "invalid_json", None),
    "no prompt": (COMPLETIONS, {"model": MODEL}, 400, "missing_required_parameter", "prompt"),
    "no model": (COMPLETIONS, {"prompt": "x"}, 400, "missing_required_parameter", "model"),
    "unknown model": (COMPLETIONS, {**prompt(), "model": "x"}, 404, "model_not_found", "model"),
    "empty prompt": (COMPLETIONS, prompt(""), 400, "invalid_value", "prompt"),
    "empty prompt among others": (COMPLETIONS, prompt(["a", ""]), 400, "invalid_value", "prompt[1]"),
    "no prompts": (COMPLETIONS, prompt([]), 400, "invalid_value", "prompt"),
    "empty ids": (COMPLETIONS, prompt([[1], []]), 400, "invalid_value", "prompt"),
    "mixed prompts": (COMPLETIONS, prompt(["a", 1]), 400, "invalid_value", "prompt"),
    "too many prompts": (COMPLETIONS, prompt(["a"] * 129), 400, "too_many", "prompt"),
    "too many answers": (COMPLETIONS, prompt(["a"] * 100, n=100), 400, "too_many", "n"),
    "negative id": (COMPLETIONS, prompt([5, -1]), 400, "invalid_value", "prompt"),
    "id beyond the vocabulary": (COMPLETIONS, prompt([5, 1216]), 400, "invalid_value", "prompt"),
    "huge id": (COMPLETIONS, prompt([2**70]), 400, "invalid_value", "prompt"),
    "huge id among prompts": (COMPLETIONS, prompt([[5], [2**31]]), 400, "invalid_value", "prompt[1]"),
    "too many ids": (COMPLETIONS, prompt([5] * 40_000), 400, "context_length_exceeded", "prompt"),
    "a million ids": (COMPLETIONS, prompt([5] * 1_000_000), 413, "request_too_large", None),
    "long text": (COMPLETIONS, prompt(LONG), 400, "context_length_exceeded", "prompt"),
    "no room": (COMPLETIONS, prompt([5] * 32_768), 400, "context_length_exceeded", "prompt"),
    "max_tokens over": (COMPLETIONS, prompt(max_tokens=40_000), 400, "context_length_exceeded", "max_tokens"),
    "max_tokens zero": (COMPLETIONS, prompt(max_tokens=0), 400, "invalid_value", "max_tokens"),
    "max_tokens huge": (COMPLETIONS, prompt(max_tokens=2**70), 400, "context_length_exceeded", "max_tokens"),
    "stop id beyond the vocabulary": (
        COMPLETIONS,
        prompt(stop_token_ids=[2**31], min_tokens=2),
        400,
        "invalid_value",
        "stop_token_ids",
    ),
    "stop id of a chat": (CHAT, body(stop_token_ids=[5000], min_tokens=2), 400, "invalid_value", "stop_token_ids"),
    "a huge text": (CHAT, body(HUGE), 400, "context_length_exceeded", "messages"),
    "a huge part": (CHAT, body([{"type": "text", "text": HUGE}]), 400, "context_length_exceeded", "messages"),
    "bias beyond the vocabulary": (COMPLETIONS, prompt(logit_bias={"99999": 1}), 400, "invalid_value", "logit_bias"),
    "many logprobs": (COMPLETIONS, prompt(logprobs=6), 400, "invalid_value", "logprobs"),
    "logprobs of an echo": (COMPLETIONS, prompt(logprobs=1, echo=True), 400, "invalid_value", "logprobs"),
    "best of more": (COMPLETIONS, prompt(best_of=3), 400, "invalid_value", "best_of"),
    "suffix": (COMPLETIONS, prompt(suffix="."), 400, "invalid_value", "suffix"),
    "embeddings": (COMPLETIONS, prompt(prompt_embeds="AAAA"), 400, "invalid_value", "prompt_embeds"),
    "broken pattern": (COMPLETIONS, prompt(guided_regex="("), 400, "invalid_value", "guided_regex"),
    "tokenize nothing": (TOKENIZE, {}, 400, "missing_required_parameter", "prompt"),
    "tokenize a number": (TOKENIZE, {"prompt": 5}, 400, "invalid_value", "prompt"),
    "tokenize a wrong switch": (TOKENIZE, prompt(add_special_tokens=5), 400, "invalid_value", "add_special_tokens"),
    "tokenize for another model": (TOKENIZE, {**prompt(), "model": "x"}, 404, "model_not_found", "model"),
    "tokenize a list": (TOKENIZE, b"[]", 400, "invalid_type", None),
    "tokenize too much": (TOKENIZE, prompt("x" * (2**20 + 1)), 400, "too_large", "prompt"),
    "tokenize no messages": (TOKENIZE, {"messages": []}, 400, "invalid_value", "messages"),
    "tokenize a hundred thousand messages": (
        TOKENIZE,
        {"messages": [{"role": "user", "content": "x"}] * 100_000},
        400,
        "too_many",
        "messages",
    ),
    "1,025 allowed tokens": (
        COMPLETIONS,
        prompt(allowed_token_ids=list(range(1025))),
        400,
        "invalid_value",
        "allowed_token_ids",
    ),
    "bad words": (COMPLETIONS, prompt(bad_words=[""]), 400, "invalid_value", "bad_words"),
    "a prompt of a float": (COMPLETIONS, prompt([1.5]), 400, "invalid_value", "prompt"),
    "true among ids": (COMPLETIONS, prompt([True]), 400, "invalid_value", "prompt"),
    "ids nested too deeply": (COMPLETIONS, prompt([[[1]]]), 400, "invalid_value", "prompt"),
    "tokenize an unknown role": (TOKENIZE, {"messages": [{"role": "x"}]}, 400, "invalid_value", "messages[0].role"),
    "tokenize a long conversation": (TOKENIZE, body(LONG), 400, "context_length_exceeded", "messages"),
    "tokenize with a foreign template": (TOKENIZE, body(chat_template="x"), 400, "invalid_value", "chat_template"),
    "tokenize a fetched image": (
        TOKENIZE,
        body([{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}]),
        400,
        "invalid_image",
        "messages[0].content[0].image_url.url",
    ),
    "detokenize nothing": (DETOKENIZE, {}, 400, "missing_required_parameter", "tokens"),
    "detokenize a negative id": (DETOKENIZE, ids(-1), 400, "invalid_value", "tokens"),
    "detokenize a huge id": (DETOKENIZE, ids(2**70), 400, "invalid_value", "tokens"),
    "detokenize beyond the vocabulary": (DETOKENIZE, ids(1, 1216), 400, "invalid_value", "tokens"),
    "detokenize text": (DETOKENIZE, ids("a"), 400, "invalid_value", "tokens[0]"),
    "detokenize too many": (DETOKENIZE, ids(*[1] * (2**17 + 1)), 400, "too_many", "tokens"),
}


def encoded(request: Any) -> bytes:
    return request if isinstance(request, bytes) else json.dumps(request).encode()


@pytest.mark.parametrize("name", CASES)
async def test_refusals_beside_a_running_stream(client: httpx.AsyncClient, name: str) -> None:
    path, request, status, code, param = CASES[name]
    beside = Streamed()
    running = asyncio.create_task(stream(client, long_body(60), beside))
    while not beside.chunks:
        await asyncio.sleep(0.005)
    for streamed in (False, True) if path == COMPLETIONS and isinstance(request, dict) else (False,):
        sent = {**request, "stream": True} if streamed else request
        response = await client.post(path, content=encoded(sent))
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (status, code, param), error["message"]
        assert error["type"] == "invalid_request_error"
        assert len(error["message"]) < 400
    await running
    assert (beside.done, beside.finish_reason, beside.error) == (True, "length", None)
    print(f"slowest gap of the stream beside it: {beside.slowest_gap * 1000:.0f} ms")


async def test_a_huge_text_is_refused_before_the_template_copies_it(client: httpx.AsyncClient) -> None:
    response = await client.post(CHAT, json=body(HUGE))
    assert "which hold at most" in response.json()["error"]["message"]


async def test_space_that_the_template_strips_is_not_counted(client: httpx.AsyncClient) -> None:
    response = await client.post(CHAT, json=body(" " * len(HUGE) + "Hello", max_tokens=1))
    assert (response.status_code, response.json()["usage"]["prompt_tokens"] < 100) == (200, True)


async def test_it_still_serves_after_all_that(client: httpx.AsyncClient) -> None:
    answer = await client.post(COMPLETIONS, json=prompt("Hello", max_tokens=2))
    assert answer.json()["usage"]["completion_tokens"] == 2
    health = (await client.get("/health")).json()
    assert (health["status"], health["in_flight"], health["waiting"]) == ("serving", 0, 0)
