"""The official `openai` package's Responses against the daemon, sync and async."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pydantic
import pytest

from tests.daemon_process import MODEL, DaemonProcess
from tests.responses_client import WEATHER, image

pytestmark = pytest.mark.engine

RED = (220, 30, 30)
ON: Any = {"effort": "high"}
OFF: Any = {"effort": "none"}
HELLO = "My name is Rosa. Say hello."


class Manners(pydantic.BaseModel):
    polite: bool


@pytest.fixture
def sdk(daemon: DaemonProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_sdk(daemon: DaemonProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def asked(content: Any = HELLO, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": content, "temperature": 0, "max_output_tokens": 400, **fields}


def comparable(response: Any) -> list[dict[str, Any]]:
    output: list[dict[str, Any]] = [item.model_dump(exclude={"id", "call_id"}) for item in response.output]
    for item in output:
        for part in item.get("content") or ():
            part.pop("parsed", None)
    return output


@pytest.mark.parametrize("reasoning", [ON, OFF], ids=["thinking", "direct"])
def test_an_answer_whole_and_streamed(sdk: openai.OpenAI, reasoning: Any) -> None:
    request = asked(reasoning=reasoning)
    response = sdk.responses.create(**request)
    assert "Rosa" in response.output_text
    assert [item.type for item in response.output] == (["message"] if reasoning is OFF else ["reasoning", "message"])
    assert response.status == "completed"
    pieces = ""
    with sdk.responses.stream(**request) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                pieces += event.delta
                assert event.snapshot == pieces
        final = stream.get_final_response()
    assert pieces == response.output_text
    assert comparable(final) == comparable(response)
    assert final.usage is not None
    assert response.usage is not None
    assert final.usage.output_tokens == response.usage.output_tokens
    kinds = [event.type for event in sdk.responses.create(**request, stream=True)]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert ("response.reasoning_text.delta" in kinds) is (reasoning is ON)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("reasoning", [{**ON, "summary": "auto"}, OFF], ids=["thinking", "direct"])
def test_three_turns_with_a_tool(sdk: openai.OpenAI, reasoning: Any, streamed: bool) -> None:
    def answered(**fields: Any) -> Any:
        request = asked(tools=[WEATHER], reasoning=reasoning, **fields)
        if not streamed:
            return sdk.responses.create(**request)
        with sdk.responses.stream(**request) as stream:
            return stream.get_final_response()

    previous: str | None = None
    for city, degrees in (("Lisbon", 17), ("Oslo", 4), ("Paris", 12)):
        response = answered(content=f"What is the weather in {city}?", previous_response_id=previous)
        (call,) = [item for item in response.output if item.type == "function_call"]
        assert call.arguments == f'{{"city": "{city}"}}'
        result = {"type": "function_call_output", "call_id": call.call_id, "output": f"{degrees} degrees"}
        response = answered(content=[result], previous_response_id=response.id)
        assert str(degrees) in response.output_text
        previous = response.id


def test_a_conversation_of_its_own(sdk: openai.OpenAI) -> None:
    """Without the store the client sends the items back that it was given."""
    first = sdk.responses.create(**asked(store=False, include=["reasoning.encrypted_content"]))
    history: list[Any] = [
        {"role": "user", "content": HELLO},
        *first.output,
        {"role": "user", "content": "What is my name?"},
    ]
    assert "Rosa" in sdk.responses.create(**asked(history, store=False)).output_text
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(first.id)


def test_an_image(sdk: openai.OpenAI) -> None:
    content = [{"type": "input_text", "text": "What color is this image?"}, image(RED)]
    assert "red" in sdk.responses.create(**asked([{"role": "user", "content": content}])).output_text.lower()


def test_an_answer_in_a_models_form(sdk: openai.OpenAI) -> None:
    parsed = sdk.responses.parse(**asked(text_format=Manners))
    assert isinstance(parsed.output_parsed, Manners)
    with sdk.responses.stream(**asked(text_format=Manners)) as stream:
        assert stream.get_final_response().output_parsed == parsed.output_parsed


def test_what_is_stored(sdk: openai.OpenAI) -> None:
    response = sdk.responses.create(**asked(metadata={"a": "b"}))
    assert sdk.responses.retrieve(response.id) == response
    items = list(sdk.responses.input_items.list(response.id, limit=1))
    assert [(item.type, getattr(item, "role", None)) for item in items] == [("message", "user")]
    sdk.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(response.id)


def test_in_the_background(sdk: openai.OpenAI) -> None:
    response = sdk.responses.create(**asked(background=True))
    assert response.status in ("queued", "in_progress")
    deadline = time.monotonic() + 30
    while response.status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
        response = sdk.responses.retrieve(response.id)
    assert "Rosa" in response.output_text
    with pytest.raises(openai.BadRequestError, match="cannot be cancelled"):
        sdk.responses.cancel(response.id)
    # A stream in the background is taken up where it was left.
    events = sdk.responses.create(**asked(background=True, stream=True))
    first = next(iter(events))
    assert first.type == "response.created"
    events.close()
    with sdk.responses.stream(response_id=first.response.id, starting_after=0) as stream:
        assert comparable(stream.get_final_response()) == comparable(response)


def test_tokens_are_counted(sdk: openai.OpenAI) -> None:
    counted = sdk.responses.input_tokens.count(model=MODEL, input=HELLO, instructions="Be kind.")
    usage = sdk.responses.create(**asked(instructions="Be kind.")).usage
    assert usage is not None
    assert counted.input_tokens == usage.input_tokens


def test_errors_are_the_packages_own(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        sdk.responses.create(**{**asked(), "model": "gpt-x"})
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as wrong:
        sdk.responses.create(**asked(previous_response_id="resp_nobody"))
    assert (wrong.value.code, wrong.value.param) == ("previous_response_not_found", "previous_response_id")


async def test_the_async_client(async_sdk: openai.AsyncOpenAI) -> None:
    response = await async_sdk.responses.create(**asked())
    async with async_sdk.responses.stream(**asked()) as stream:
        final = await stream.get_final_response()
    assert comparable(final) == comparable(response)
