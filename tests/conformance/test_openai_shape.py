"""Answers over HTTP are what the `openai` package's models say, field by field; `EXTRAS` names what is ours."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.chat_client import WEATHER, ask, body, stream
from tests.unit.dialects.openai_shape import check

pytestmark = pytest.mark.engine

REQUESTS: dict[str, dict[str, Any]] = {
    "thinking": body("My name is Rosa. Say hello."),
    "direct": body("My name is Rosa. Say hello.", enable_thinking=False),
    "a call": body("What is the weather in Lisbon?", tools=[WEATHER]),
    "two calls": body("What is the weather in Paris and Rome?", tools=[WEATHER], tool_choice="required"),
    "several": body("My name is Rosa. Say hello.", n=3),
    "cut": body("My name is Rosa. Say hello.", max_tokens=3),
    "everything told": body("What is 17 + 25?", logprobs=True, top_logprobs=2, return_token_ids=True),
    "a tier": body("My name is Rosa. Say hello.", max_tokens=3, service_tier="auto"),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_the_shape_of_an_answer(client: httpx.AsyncClient, name: str) -> None:
    request = REQUESTS[name]
    answer = check(ChatCompletion, await ask(client, request))
    assert answer.system_fingerprint.startswith("qwend-")
    assert answer.service_tier == ("default" if "service_tier" in request else None)
    assert len(answer.choices) == request.get("n", 1)
    for choice in answer.choices:
        assert "refusal" in choice.message.model_fields_set
        assert choice.message.refusal is None
        assert choice.message.annotations is None
        assert bool(choice.message.tool_calls) is ("call" in name)
        assert bool(choice.logprobs) is ("logprobs" in request)


@pytest.mark.parametrize("include_usage", [False, True])
@pytest.mark.parametrize("name", REQUESTS)
async def test_the_shape_of_every_chunk(client: httpx.AsyncClient, name: str, include_usage: bool) -> None:
    request = REQUESTS[name]
    streamed = await stream(client, {**request, "stream_options": {"include_usage": include_usage}})
    chunks = [check(ChatCompletionChunk, chunk) for chunk in streamed.chunks]
    assert streamed.done
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.created for chunk in chunks} == {chunks[0].created}
    assert all(chunk.system_fingerprint.startswith("qwend-") for chunk in chunks)
    assert all(chunk.service_tier == ("default" if "service_tier" in request else None) for chunk in chunks)
    first = [chunk.choices[0] for chunk in chunks[: request.get("n", 1)]]
    assert [choice.delta.role for choice in first] == ["assistant"] * len(first)
    told = [choice for chunk in chunks for choice in chunk.choices]
    assert sum(choice.finish_reason is not None for choice in told) == request.get("n", 1)
    assert (chunks[-1].usage is not None) is include_usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
