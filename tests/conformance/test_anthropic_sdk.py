"""The official `anthropic` package against the daemon, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import pydantic
import pytest

from tests.daemon_process import MODEL, DaemonProcess
from tests.messages_client import WEATHER, image_block

pytestmark = pytest.mark.engine

HELLO: list[Any] = [{"role": "user", "content": "My name is Rosa. Say hello."}]
OFF: Any = {"type": "disabled"}
ON: Any = {"type": "enabled", "budget_tokens": 200}
CITIES = ("Lisbon", "Oslo", "Paris")


@pytest.fixture
def sdk(daemon: DaemonProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=daemon.url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_sdk(daemon: DaemonProcess) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=daemon.url, auth_token="none", max_retries=0) as client:
        yield client


def asked(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 400, "messages": HELLO, **fields}


def comparable(message: Any) -> dict[str, Any]:
    """What two answers to the same request share: all but the ids and what the second finds in the cache."""
    told: dict[str, Any] = message.model_dump(exclude={"id", "usage"})
    for block in told["content"]:
        block.pop("id", None)
        block.pop("parsed_output", None)
    return told


@pytest.mark.parametrize("thinking", [ON, OFF], ids=["thinking", "direct"])
def test_an_answer_whole_and_streamed(sdk: anthropic.Anthropic, thinking: Any) -> None:
    request = asked(thinking=thinking)
    message = sdk.messages.create(**request)
    *thoughts, text = message.content
    assert text.type == "text"
    assert "Rosa" in text.text
    assert [block.type for block in thoughts] == ([] if thinking is OFF else ["thinking"])
    assert message.stop_reason == "end_turn"
    assert message._request_id is not None
    with sdk.messages.stream(**request) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 1
    assert "".join(pieces) == text.text
    assert comparable(final) == comparable(message)
    assert final.usage.output_tokens == message.usage.output_tokens


def test_the_events_of_a_stream(sdk: anthropic.Anthropic) -> None:
    with sdk.messages.stream(**asked(thinking=ON)) as stream:
        kinds = [event.type for event in stream]
    without_repeats = [kind for place, kind in enumerate(kinds) if place == 0 or kinds[place - 1] != kind]
    for kind in ("thinking", "signature", "text", "message_stop"):
        assert kind in without_repeats
    raw = sdk.messages.create(**asked(thinking=ON), stream=True)
    assert [event.type for event in raw][-2:] == ["message_delta", "message_stop"]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("thinking", [ON, OFF], ids=["thinking", "direct"])
def test_three_turns_with_a_tool(sdk: anthropic.Anthropic, thinking: Any, streamed: bool) -> None:
    """Each answer goes back as it came, thinking and signature too."""
    messages: list[Any] = []
    read = 0
    for turn, city in enumerate(CITIES):
        messages.append({"role": "user", "content": f"What is the weather in {city}?"})
        for step in ("call", "answer"):
            request = asked(messages=messages, tools=[WEATHER], thinking=thinking, system="You are a helper.")
            tokens = sdk.messages.count_tokens(
                **{name: value for name, value in request.items() if name != "max_tokens"}
            ).input_tokens
            if streamed:
                with sdk.messages.stream(**request) as stream:
                    message = stream.get_final_message()
            else:
                message = sdk.messages.create(**request)
            usage = message.usage
            assert usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens == tokens
            read = max(read, usage.cache_read_input_tokens)
            messages.append({"role": "assistant", "content": message.content})
            if step == "call":
                assert message.stop_reason == "tool_use"
                (call,) = [block for block in message.content if block.type == "tool_use"]
                assert (call.name, call.input) == ("get_weather", {"city": city})
                degrees = f"{17 + turn} degrees"
                result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": degrees}]}
                messages.append({"role": "user", "content": [result]})
            else:
                assert message.stop_reason == "end_turn"
                assert str(17 + turn) in message.content[-1].text
    assert read > 0


def test_the_tool_runner_calls_and_goes_on(sdk: anthropic.Anthropic) -> None:
    called = []

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """Get the weather in a city

        Args:
            city: The city
        """
        called.append(city)
        return "17 degrees"

    question: Any = [{"role": "user", "content": "What is the weather in Lisbon?"}]
    runner = sdk.beta.messages.tool_runner(model=MODEL, max_tokens=400, tools=[get_weather], messages=question)
    final = runner.until_done()
    assert called == ["Lisbon"]
    assert "17" in final.content[-1].text


@pytest.mark.parametrize("thinking", [ON, OFF], ids=["thinking", "direct"])
@pytest.mark.parametrize(("color", "rgb"), [("red", (220, 30, 30)), ("blue", (30, 60, 220))])
def test_the_color_of_an_image(sdk: anthropic.Anthropic, color: str, rgb: tuple[int, int, int], thinking: Any) -> None:
    content: list[Any] = [image_block(rgb), {"type": "text", "text": "What color is this image?"}]
    request = asked(messages=[{"role": "user", "content": content}], thinking=thinking)
    message = sdk.messages.create(**request)
    assert color in message.content[-1].text.lower()
    del request["max_tokens"]
    usage = message.usage
    assert sdk.messages.count_tokens(**request).input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_an_answer_in_a_schemas_form(sdk: anthropic.Anthropic) -> None:
    class Manners(pydantic.BaseModel):
        polite: bool

    parsed = sdk.messages.parse(**asked(thinking=OFF), output_format=Manners)
    assert isinstance(parsed.parsed_output, Manners)
    beta = sdk.beta.messages.parse(**asked(), output_format=Manners)
    assert isinstance(beta.parsed_output, Manners)


def test_a_stop_sequence_is_told(sdk: anthropic.Anthropic) -> None:
    count: list[Any] = [{"role": "user", "content": "Count from 1 to 10."}]
    message = sdk.messages.create(**asked(messages=count, stop_sequences=["6"], thinking=OFF))
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "6")


def test_errors_arrive_as_the_sdks_own(sdk: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as bad:
        sdk.messages.create(**asked(messages=[]))
    assert bad.value.type == "invalid_request_error"
    assert "messages" in bad.value.message
    assert bad.value.request_id is not None
    with pytest.raises(anthropic.NotFoundError) as missing:
        sdk.messages.create(**asked(model="claude-x"))
    assert (missing.value.type, missing.value.error_code) == ("not_found_error", "model_not_found")
    with pytest.raises(anthropic.BadRequestError, match="web_search_20250305"):
        sdk.messages.create(**asked(tools=[{"type": "web_search_20250305", "name": "web_search"}]))
    with pytest.raises(anthropic.ContentTooLargeError) as large:
        sdk.messages.create(**asked(system="x" * 33 * 2**20))
    assert large.value.type == "request_too_large"
    with pytest.raises(anthropic.AuthenticationError):
        sdk.messages.create(**asked(), extra_headers={"api-key": "another"})


def test_the_models(sdk: anthropic.Anthropic) -> None:
    assert [model.id for model in sdk.models.list()] == [MODEL]
    model = sdk.models.retrieve(MODEL)
    assert (model.lifecycle, model.max_input_tokens) == ("active", 32768)
    with pytest.raises(anthropic.NotFoundError):
        sdk.models.retrieve("claude-x")


async def test_the_async_client(async_sdk: anthropic.AsyncAnthropic) -> None:
    names = ["Rosa", "Ada"] * 2
    requests = [asked(messages=[{"role": "user", "content": f"My name is {name}. Say hello."}]) for name in names]
    answers = await asyncio.gather(*(async_sdk.messages.create(**request) for request in requests))
    assert [answer.content[-1].text for answer in answers] == [f"Hello, {name}!" for name in names]
    async with async_sdk.messages.stream(**requests[0]) as stream:
        pieces = [piece async for piece in stream.text_stream]
        final = await stream.get_final_message()
    assert "".join(pieces) == "Hello, Rosa!"
    assert comparable(final) == comparable(answers[0])
    counted = await async_sdk.messages.count_tokens(model=MODEL, messages=requests[0]["messages"])
    assert counted.input_tokens == final.usage.input_tokens + final.usage.cache_read_input_tokens


async def test_a_stream_that_is_left_frees_its_place(async_sdk: anthropic.AsyncAnthropic) -> None:
    request = asked(messages=[{"role": "user", "content": "Tell me a story about rain."}], max_tokens=4000)
    async with async_sdk.messages.stream(**request) as stream:
        async for _ in stream:
            break
    assert (await async_sdk.messages.create(**asked(max_tokens=1))).stop_reason == "max_tokens"
