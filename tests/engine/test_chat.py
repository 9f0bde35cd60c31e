from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from tests.chat_client import WEATHER, Streamed, ask, body, image_part, long_body, stream

pytestmark = pytest.mark.engine


async def test_thinking_is_on_by_default_and_sent_under_both_names(client: httpx.AsyncClient) -> None:
    answer = await ask(client, body("My name is Zubavo. Say hello."))
    message = answer["choices"][0]["message"]
    assert message["reasoning"]
    assert message["reasoning"] == message["reasoning_content"]
    assert "Zubavo" in message["content"]
    assert "think>" not in message["content"] + message["reasoning"]
    assert message["content"] == message["content"].strip()
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert 0 < answer["usage"]["completion_tokens_details"]["reasoning_tokens"] < answer["usage"]["completion_tokens"]


@pytest.mark.parametrize("off", [{"enable_thinking": False}, {"chat_template_kwargs": {"enable_thinking": False}}])
async def test_thinking_can_be_switched_off_in_either_place(client: httpx.AsyncClient, off: dict[str, object]) -> None:
    answer = await ask(client, body("My name is Zubavo. Say hello.", **off))
    message = answer["choices"][0]["message"]
    assert message["reasoning"] is None
    assert "Zubavo" in message["content"]
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


@pytest.mark.parametrize("thinking", [True, False])
async def test_a_stream_adds_up_to_the_whole_answer(client: httpx.AsyncClient, thinking: bool) -> None:
    requests = [
        body("My name is Rakilu. Say hello.", enable_thinking=thinking),
        body("What is the weather in Kotavi?", enable_thinking=thinking, tools=[WEATHER]),
        body(
            [{"type": "text", "text": "What color is this image?"}, image_part((30, 60, 220))], enable_thinking=thinking
        ),
    ]
    for request in requests:
        whole = await ask(client, request)
        streamed = await stream(client, {**request, "stream_options": {"include_usage": True}})
        message = whole["choices"][0]["message"]
        assert streamed.done
        assert streamed.content == (message["content"] or "")
        assert streamed.reasoning == (message["reasoning"] or "")
        calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls", [])]
        assert streamed.tool_calls() == calls
        assert streamed.finish_reason == whole["choices"][0]["finish_reason"]
        usage = streamed.chunks[-1]["usage"]
        assert usage["completion_tokens"] == whole["usage"]["completion_tokens"]
        assert usage["completion_tokens_details"] == whole["usage"]["completion_tokens_details"]


async def test_usage_is_streamed_only_when_asked_for(client: httpx.AsyncClient) -> None:
    streamed = await stream(client, body(max_tokens=3))
    assert streamed.done
    assert all("usage" not in chunk for chunk in streamed.chunks)


async def test_a_tool_is_called_with_the_argument_from_the_question(client: httpx.AsyncClient) -> None:
    answer = await ask(client, body("What is the weather in Paris?", tools=[WEATHER]))
    message = answer["choices"][0]["message"]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert message["content"] is None
    (call,) = message["tool_calls"]
    assert call["id"].startswith("call_")
    assert (call["type"], call["function"]["name"]) == ("function", "get_weather")
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}


async def test_tool_choice_none_keeps_the_model_from_calling(client: httpx.AsyncClient) -> None:
    answer = await ask(client, body("What is the weather in Paris?", tools=[WEATHER], tool_choice="none"))
    assert "tool_calls" not in answer["choices"][0]["message"]
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_a_repeated_long_prompt_is_read_from_the_prefix_cache(client: httpx.AsyncClient) -> None:
    request = body("All work and no play. " * 200, max_tokens=1)
    usages = [(await ask(client, request))["usage"] for _ in range(2)]
    assert usages[0]["prompt_tokens"] > 1000
    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
    assert cached[0] == 0
    # All but what follows the last of the places where a state is kept; see `prefix_match_unit` in the profile.
    assert cached[1] >= usages[0]["prompt_tokens"] - 32


async def test_max_tokens_cuts_and_says_so(client: httpx.AsyncClient) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        answer = await ask(client, body(**{name: 4}))
        assert answer["usage"]["completion_tokens"] == 4
        assert answer["choices"][0]["finish_reason"] == "length"


async def test_a_stop_string_ends_the_answer_before_it(client: httpx.AsyncClient) -> None:
    plain = await ask(client, body("Who are you?", enable_thinking=False))
    text = plain["choices"][0]["message"]["content"]
    word = text.split()[2]
    stopped = await ask(client, body("Who are you?", enable_thinking=False, stop=[word]))
    assert stopped["choices"][0]["message"]["content"] == text[: text.index(word)]
    assert stopped["choices"][0]["finish_reason"] == "stop"


async def test_a_stop_string_in_the_thinking_ends_the_answer_too(client: httpx.AsyncClient) -> None:
    choice = (await ask(client, body("My name is Zubavo. Say hello.", stop=[" called"])))["choices"][0]
    assert (choice["message"]["reasoning"], choice["message"]["content"]) == ("The user is", "")
    assert choice["finish_reason"] == "stop"


async def test_a_seed_repeats_a_random_answer(client: httpx.AsyncClient) -> None:
    request = long_body(24, temperature=1.5, seed=7)
    first, second, other = await asyncio.gather(
        ask(client, request), ask(client, request), ask(client, {**request, "seed": 8})
    )
    texts = [each["choices"][0]["message"] for each in (first, second, other)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


async def test_many_streams_at_once_do_not_mix(client: httpx.AsyncClient) -> None:
    names = ["Bado", "Fegi", "Kilo", "Nutu", "Piri", "Soma", "Tevu", "Zaka"]
    answers: list[Streamed] = await asyncio.gather(
        *(stream(client, body(f"My name is {name}. Say hello.", enable_thinking=False)) for name in names)
    )
    for name, answer in zip(names, answers, strict=True):
        assert name in answer.content
        assert not any(other in answer.content for other in names if other != name)
        assert len({chunk["id"] for chunk in answer.chunks}) == 1


async def test_unknown_parameters_are_accepted_and_named(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/chat/completions", json=body(max_tokens=1, thinking_bugdet=5, zz=1))
    assert response.status_code == 200
    assert response.headers["x-qwend-ignored-parameters"] == "thinking_bugdet, zz"
