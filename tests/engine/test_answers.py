"""Parameters that change what is drawn and what is told of it."""

from __future__ import annotations

import httpx
import pytest

from tests.chat_client import ask, body, metric, stream

pytestmark = pytest.mark.engine

NAME = "My name is Zubavo. Say hello."


@pytest.mark.parametrize("fields", [{}, {"temperature": 0.8, "seed": 5}], ids=["greedy", "random"])
async def test_several_answers(client: httpx.AsyncClient, fields: dict[str, object]) -> None:
    answer = await ask(client, body(NAME, n=3, **fields))
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    if not fields:
        assert {choice["message"]["content"] for choice in answer["choices"]} == {"Hello, Zubavo!"}
    one = await ask(client, body(NAME))
    assert answer["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]
    streamed = await stream(client, body(NAME, n=3, **fields))
    for choice in answer["choices"]:
        parts = [
            delta["delta"].get("content") or ""
            for chunk in streamed.chunks
            for delta in chunk["choices"]
            if delta["index"] == choice["index"]
        ]
        assert "".join(parts) == choice["message"]["content"]


async def test_log_probabilities_of_every_token(client: httpx.AsyncClient) -> None:
    request = body(NAME, logprobs=True, top_logprobs=3, return_token_ids=True)
    answer = await ask(client, request)
    choice, usage = answer["choices"][0], answer["usage"]
    told = choice["logprobs"]["content"]
    assert len(told) == len(choice["token_ids"]) == usage["completion_tokens"]
    assert len(answer["prompt_token_ids"]) == usage["prompt_tokens"]
    text = b"".join(bytes(entry["bytes"]) for entry in told).decode()
    assert text.startswith(choice["message"]["reasoning"])
    assert choice["message"]["content"] in text
    for entry in told:
        # Greedy: the chosen one is the likeliest, and the others follow in order.
        assert entry["top_logprobs"][0]["token"] == entry["token"]
        values = [each["logprob"] for each in entry["top_logprobs"]]
        assert len(values) == 3
        assert values == sorted(values, reverse=True)
    streamed = await stream(client, request)
    chunks = [choice for chunk in streamed.chunks for choice in chunk["choices"]]
    ids = [token for each in chunks for token in each.get("token_ids", [])]
    assert ids == choice["token_ids"]
    again = [entry["token"] for each in chunks if each["logprobs"] for entry in each["logprobs"]["content"]]
    assert again == [entry["token"] for entry in told]


async def test_a_logit_bias_forces_a_token(client: httpx.AsyncClient) -> None:
    told = await ask(client, body(NAME, enable_thinking=False, logprobs=True, max_tokens=1, return_token_ids=True))
    banned = told["choices"][0]["token_ids"][0]
    biased = body(NAME, enable_thinking=False, max_tokens=1, return_token_ids=True, logit_bias={str(banned): -100})
    assert (await ask(client, biased))["choices"][0]["token_ids"] != [banned]


async def test_stop_tokens_and_the_kept_stop_string(client: httpx.AsyncClient) -> None:
    kept = body(NAME, enable_thinking=False, stop=[","], include_stop_str_in_output=True)
    assert (await ask(client, kept))["choices"][0]["message"]["content"] == "Hello,"
    ids = (await ask(client, body(NAME, enable_thinking=False, return_token_ids=True)))["choices"][0]["token_ids"]
    stopped = await ask(client, body(NAME, enable_thinking=False, stop_token_ids=[ids[1]], return_token_ids=True))
    assert stopped["choices"][0]["token_ids"] == ids[:2]
    assert stopped["choices"][0]["finish_reason"] == "stop"


async def test_thinking_can_be_left_out_of_the_answer(client: httpx.AsyncClient) -> None:
    answer = await ask(client, body(NAME, include_reasoning=False))
    assert answer["choices"][0]["message"]["reasoning"] is None
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    assert "reasoning" not in str((await stream(client, body(NAME, include_reasoning=False))).chunks)


async def test_a_message_is_continued(client: httpx.AsyncClient) -> None:
    request = body(NAME, continue_final_message=True)
    request["messages"] += [{"role": "assistant", "content": "Hello, Zub"}]
    assert (await ask(client, request))["choices"][0]["message"]["content"] == "avo!"


async def test_salts_do_not_share_cached_prefixes(client: httpx.AsyncClient) -> None:
    def request(salt: str) -> dict[str, object]:
        return body("Salt and pepper. " * 400, max_tokens=1, cache_salt=salt)

    cached = [
        (await ask(client, request(salt)))["usage"]["prompt_tokens_details"]["cached_tokens"]
        for salt in ("one", "one", "one", "two")
    ]
    assert cached[2] > 0
    assert cached[3] == 0


async def test_unknown_parameters_are_counted(client: httpx.AsyncClient) -> None:
    before = await metric(client, "qwend_ignored_parameters_total")
    response = await client.post("/v1/chat/completions", json=body(max_tokens=1, **{"größe": 1}))
    assert response.headers["x-qwend-ignored-parameters"] == "gr%C3%B6%C3%9Fe"
    assert await metric(client, "qwend_ignored_parameters_total") == before + 1
