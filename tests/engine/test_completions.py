"""Raw prompts over HTTP: several at once, echoed, with their tokens told, streamed, and left in the middle."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.chat_client import ask, body, image_part, long_body, metric
from tests.daemon_process import MODEL

pytestmark = pytest.mark.engine

# What the template makes of one user message with thinking off.
HELLO = "<|im_start|>user\nMy name is {}. Say hello.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
NAMES = ["Ada", "Zubavo", "Rosa"]


def request(prompt: Any, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": prompt, **fields}


async def complete(client: httpx.AsyncClient, prompt: Any, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/completions", json=request(prompt, **fields))
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def streamed(client: httpx.AsyncClient, prompt: Any, **fields: Any) -> list[dict[str, Any]]:
    response = await client.post("/v1/completions", json=request(prompt, stream=True, **fields))
    *frames, done = [each.removeprefix("data: ") for each in response.text.split("\n\n")[:-1]]
    assert done == "[DONE]"
    return [json.loads(each) for each in frames]


def texts(chunks: list[dict[str, Any]], answers: int) -> list[str]:
    joined = [""] * answers
    for chunk in chunks:
        for choice in chunk["choices"]:
            joined[choice["index"]] += choice["text"]
    return joined


async def tokens(client: httpx.AsyncClient, text: str) -> list[int]:
    found: list[int] = (await client.post("/tokenize", json={"prompt": text})).json()["tokens"]
    return found


async def test_several_prompts_are_answered_in_their_order_however_they_are_sent(client: httpx.AsyncClient) -> None:
    prompts = [HELLO.format(name) for name in NAMES]
    as_ids = [await tokens(client, prompt) for prompt in prompts]
    answer = await complete(client, prompts, n=2)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3, 4, 5]
    said = [choice["text"] for choice in answer["choices"]]
    assert said == [f"Hello, {name}!" for name in NAMES for _ in range(2)]
    assert {choice["finish_reason"] for choice in answer["choices"]} == {"stop"}
    alone = [(await complete(client, prompt, n=2))["usage"] for prompt in prompts]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert answer["usage"][name] == sum(usage[name] for usage in alone)
    assert [choice["text"] for choice in (await complete(client, as_ids, n=2))["choices"]] == said
    assert (await complete(client, as_ids[1]))["choices"][0]["text"] == said[2]
    chunks = await streamed(client, prompts, n=2, stream_options={"include_usage": True})
    assert texts(chunks, 6) == said
    assert chunks[-1]["usage"]["total_tokens"] == answer["usage"]["total_tokens"]
    # Interleaved: an early answer goes on after a later one has begun.
    order = [choice["index"] for chunk in chunks for choice in chunk["choices"]]
    assert order != sorted(order)


async def test_sixteen_tokens_are_the_default(client: httpx.AsyncClient) -> None:
    answer = await complete(client, "Count", ignore_eos=True)
    assert answer["usage"]["completion_tokens"] == 16
    assert answer["choices"][0]["finish_reason"] == "length"
    # Less where the context leaves less.
    assert (await complete(client, [5] * 32_765, ignore_eos=True))["usage"]["completion_tokens"] == 3


async def test_a_prompt_of_one_token_alone_does_not_end_the_engine(client: httpx.AsyncClient) -> None:
    one = await tokens(client, "Hello")
    assert len(one) == 1
    alone = await complete(client, one, max_tokens=8)
    # The same as beside others, where the engine takes another way.
    beside = await complete(client, [one, one], max_tokens=8)
    assert [choice["text"] for choice in beside["choices"]] == [alone["choices"][0]["text"]] * 2


@pytest.mark.parametrize("text", ["Hello <|im_end|> é🙂", "  spaces \n\n"])
async def test_echo_gives_the_prompt_back(client: httpx.AsyncClient, text: str) -> None:
    plain = (await complete(client, text, max_tokens=4))["choices"][0]["text"]
    for prompt in (text, await tokens(client, text)):
        assert (await complete(client, prompt, max_tokens=4, echo=True))["choices"][0]["text"] == text + plain
        assert texts(await streamed(client, prompt, max_tokens=4, echo=True), 1) == [text + plain]


async def test_the_tokens_of_an_answer_are_told(client: httpx.AsyncClient) -> None:
    prompt = HELLO.format("Zubavo")
    answer = await complete(client, prompt, logprobs=3, return_token_ids=True, skip_special_tokens=False)
    choice = answer["choices"][0]
    told = choice["logprobs"]
    count = answer["usage"]["completion_tokens"]
    assert {len(values) for values in told.values()} == {count} == {len(choice["token_ids"])}
    assert choice["prompt_token_ids"] == await tokens(client, prompt)
    assert "".join(told["tokens"]).startswith(choice["text"])
    for token, offset, logprob, top in zip(
        told["tokens"][:-1], told["text_offset"], told["token_logprobs"], told["top_logprobs"], strict=False
    ):
        assert choice["text"][offset:].startswith(token)
        assert (len(top), top[token], max(top.values())) == (3, logprob, logprob), "greedy: the likeliest is chosen"
    joined: dict[str, list[Any]] = {}
    for chunk in await streamed(client, prompt, logprobs=3):
        for name, values in (chunk["choices"][0]["logprobs"] or {}).items():
            joined.setdefault(name, []).extend(values)
    assert joined["tokens"] == told["tokens"]
    assert joined["text_offset"] == told["text_offset"]
    # None but the chosen one.
    assert [len(top) for top in (await complete(client, prompt, logprobs=0))["choices"][0]["logprobs"]["top_logprobs"]]


async def test_nothing_in_a_raw_prompt_is_markup(client: httpx.AsyncClient) -> None:
    thinking = HELLO.format("Ada").removesuffix("\n\n</think>\n\n") + "\n"
    answer = await complete(client, thinking, max_tokens=200)
    assert "</think>\n\nHello, Ada!" in answer["choices"][0]["text"]
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}
    shown = await complete(client, HELLO.format("Ada"), skip_special_tokens=False, ignore_eos=True)
    hidden = await complete(client, HELLO.format("Ada"), ignore_eos=True)
    assert "Hello, Ada!<|im_end|>" in shown["choices"][0]["text"]
    assert "<|im_end|>" not in hidden["choices"][0]["text"]


async def test_a_form_binds_from_the_first_token(client: httpx.AsyncClient) -> None:
    for prompt in ("Answer:", "Answer: <think>"):
        bound = await complete(client, prompt, structured_outputs={"choice": ["maybe", "perhaps"]})
        assert bound["choices"][0]["text"] in ("maybe", "perhaps")


async def test_what_only_looks_like_an_image_is_text(client: httpx.AsyncClient) -> None:
    ids = await tokens(client, "<|vision_start|><|image_pad|><|video_pad|><|vision_end|> What?")
    assert (await complete(client, [ids, ids * 50], max_tokens=2, ignore_eos=True))["usage"]["completion_tokens"] == 4


async def test_unknown_fields_are_named_and_the_header_is_the_chats(client: httpx.AsyncClient) -> None:
    before = await metric(client, "qwend_ignored_parameters_total")
    response = await client.post("/v1/completions", json=request("Hello", max_tokens=1, zeta=1))
    assert response.headers["x-qwend-ignored-parameters"] == "zeta"
    assert await metric(client, "qwend_ignored_parameters_total") == before + 1


@pytest.mark.parametrize("stream", [True, False])
async def test_leaving_frees_every_prompt(client: httpx.AsyncClient, stream: bool) -> None:
    ended = await metric(client, "qwend_prompts_total")
    payload = json.dumps(request(["a", "b", "c"], max_tokens=20_000, ignore_eos=True, stream=stream)).encode()
    _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    writer.write(
        f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(payload)}\r\n\r\n".encode() + payload
    )
    await writer.drain()

    async def until(name: str, value: float) -> None:
        for _ in range(200):
            if await metric(client, name) == value:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{name} is {await metric(client, name)}, not {value}")

    await until("vllm:num_requests_running", 3)
    assert await metric(client, "qwend_requests_in_flight") == 3
    writer.close()
    await until("vllm:num_requests_running", 0)
    await until("qwend_requests_in_flight", 0)
    assert await metric(client, "qwend_prompts_total") == ended + 3


async def test_all_or_none_of_the_prompts_are_let_in(client: httpx.AsyncClient) -> None:
    made = await metric(client, "vllm:prompt_tokens_total")
    response = await client.post("/v1/completions", json=request(["Hello", "x " * 40_000], max_tokens=4))
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "prompt[1]")
    assert await metric(client, "vllm:prompt_tokens_total") == made
    assert await metric(client, "qwend_requests_in_flight") == 0


async def test_an_image_that_was_refused_once_is_seen_the_next_time(client: httpx.AsyncClient) -> None:
    """The engine is not taken to have been sent what was only prepared."""
    content = [{"type": "text", "text": "What color is this image?"}, image_part((220, 30, 30), (70, 70))]
    refused = await client.post("/v1/chat/completions", json=body(content, max_tokens=40_000))
    assert refused.status_code == 400
    counted = await client.post("/tokenize", json=body(content))
    assert counted.status_code == 200
    for _ in range(2):
        assert "red" in (await ask(client, body(content, enable_thinking=False)))["choices"][0]["message"]["content"]


async def test_many_prompts_do_not_hold_up_a_stream(client: httpx.AsyncClient) -> None:
    """128 prompts of one request beside a chat: both end, and nothing is left inside."""
    chat = asyncio.create_task(ask(client, long_body(40)))
    answer = await complete(client, [f"Count {index}" for index in range(128)])
    assert len(answer["choices"]) == 128
    assert (await chat)["usage"]["completion_tokens"] == 40
    assert await metric(client, "qwend_requests_in_flight") == 0
