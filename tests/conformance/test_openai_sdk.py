"""The official `openai` package against the daemon, as the README shows it.

Qwen-Agent's OpenAI mode has no tests of its own: it calls this package and reads the same fields, while the package
brings Alibaba's cloud client along and imports soundfile and dateutil without declaring them. Tried by hand with
0.0.34, its answers, thinking and streams are right, and so are tool calls with `use_raw_api`; without that it writes
the tools into the prompt in Qwen3's JSON form and reads calls in that form only, which is not Qwen3.5's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.chat_client import WEATHER, image_part
from tests.daemon_process import MODEL, DaemonProcess

pytestmark = pytest.mark.engine

HELLO: list[Any] = [{"role": "user", "content": "My name is Rosa. Say hello."}]


@pytest.fixture
def sdk(daemon: DaemonProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def off(thinking: bool) -> dict[str, Any]:
    return {} if thinking else {"enable_thinking": False}


@pytest.mark.parametrize("thinking", [True, False])
def test_a_whole_answer(sdk: openai.OpenAI, thinking: bool) -> None:
    answer = sdk.chat.completions.create(model=MODEL, messages=HELLO, extra_body=off(thinking))
    message = answer.choices[0].message
    assert "Rosa" in (message.content or "")
    assert bool(message.reasoning) is thinking
    assert answer.usage is not None
    assert bool(answer.usage.completion_tokens_details.reasoning_tokens) is thinking


@pytest.mark.parametrize("thinking", [True, False])
def test_a_streamed_answer(sdk: openai.OpenAI, thinking: bool) -> None:
    chunks = list(
        sdk.chat.completions.create(
            model=MODEL,
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=off(thinking),
        )
    )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "Rosa" in "".join(delta.content or "" for delta in deltas)
    assert bool("".join(getattr(delta, "reasoning", None) or "" for delta in deltas)) is thinking
    assert chunks[-1].usage is not None


def test_the_streaming_helper_puts_the_answer_together(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(model=MODEL, messages=HELLO) as stream:
        final = stream.get_final_completion()
    assert "Rosa" in (final.choices[0].message.content or "")


def test_a_tool_call_and_the_use_of_its_result(sdk: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Lisbon?"}]
    first = sdk.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER]).choices[0]
    assert first.finish_reason == "tool_calls"
    (call,) = first.message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "Lisbon"}
    messages += [first.message, {"role": "tool", "tool_call_id": call.id, "content": "17 degrees"}]
    second = sdk.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER]).choices[0]
    assert "17" in (second.message.content or "")


@pytest.mark.parametrize(("color", "rgb"), [("red", (220, 30, 30)), ("blue", (30, 60, 220)), ("green", (30, 180, 40))])
def test_the_color_of_an_image(sdk: openai.OpenAI, color: str, rgb: tuple[int, int, int]) -> None:
    content: Any = [{"type": "text", "text": "What color is this image?"}, image_part(rgb)]
    answer = sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    assert color in (answer.choices[0].message.content or "").lower()


def test_errors_arrive_as_the_sdks_own(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        sdk.chat.completions.create(model=MODEL, messages=[])
    assert (bad.value.param, bad.value.code) == ("messages", "invalid_value")
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.chat.completions.create(model="gpt-x", messages=HELLO)
    assert missing.value.code == "model_not_found"


def test_the_model_list(sdk: openai.OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == [MODEL]
