"""`parse` of the official `openai` package: answers and tool arguments as pydantic models.

The tool runners of the package (3.57) work on its Responses and Decisions APIs; there is none for chat completions, in
`beta` or elsewhere, so there is nothing of them to try here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.chat_client import WEATHER
from tests.daemon_process import MODEL, DaemonProcess

pytestmark = pytest.mark.engine

HELLO: list[Any] = [{"role": "user", "content": "My name is Rosa. Say hello."}]
LISBON: list[Any] = [{"role": "user", "content": "What is the weather in Lisbon?"}]


class Manners(BaseModel):
    """Every value is one of a few, so that the grammar ends the answer and not the model's sense of an ending."""

    polite: bool
    tone: Literal["warm", "cold"]


@pytest.fixture
def sdk(daemon: DaemonProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("thinking", [True, False])
def test_an_answer_is_a_pydantic_model(sdk: openai.OpenAI, thinking: bool) -> None:
    answer = sdk.chat.completions.parse(
        model=MODEL, messages=HELLO, response_format=Manners, extra_body={"enable_thinking": thinking}
    )
    message = answer.choices[0].message
    assert isinstance(message.parsed, Manners)
    assert Manners.model_validate_json(message.content or "") == message.parsed
    assert bool(message.reasoning) is thinking


def test_a_streamed_answer_is_a_pydantic_model(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(model=MODEL, messages=HELLO, response_format=Manners) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Manners)


def test_the_arguments_of_a_strict_tool_are_parsed(sdk: openai.OpenAI) -> None:
    function: Any = {**WEATHER["function"], "strict": True}
    answer = sdk.chat.completions.parse(
        model=MODEL, messages=LISBON, tools=[{"type": "function", "function": function}]
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == {"city": "Lisbon"}


def test_the_arguments_of_a_pydantic_tool_are_its_model(sdk: openai.OpenAI) -> None:
    class GetWeather(BaseModel):
        """Get the weather in a city"""

        city: str

    tool = openai.pydantic_function_tool(GetWeather, name="get_weather")
    answer = sdk.chat.completions.parse(model=MODEL, messages=LISBON, tools=[tool])
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == GetWeather(city="Lisbon")
