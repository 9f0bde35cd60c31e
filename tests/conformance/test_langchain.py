"""LangChain's ChatOpenAI against the daemon.

LangChain takes a thinking model's tokens from the usage, but leaves its text out: its own documentation sends those who
want it to a subclass. So these tests read the count.
"""

from __future__ import annotations

from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.chat_client import WEATHER, image_part
from tests.daemon_process import MODEL, DaemonProcess

pytestmark = pytest.mark.engine

HELLO = "My name is Rosa. Say hello."


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city"""
    assert city == "Lisbon"
    return "17 degrees"


@pytest.fixture
def chat(daemon: DaemonProcess) -> ChatOpenAI:
    return model_at(daemon)


def model_at(daemon: DaemonProcess, name: str = MODEL, **fields: Any) -> ChatOpenAI:
    # Without `stream_usage` LangChain asks no server but OpenAI's own for the usage of a stream.
    return ChatOpenAI(
        base_url=f"{daemon.url}/v1", api_key="none", model=name, max_retries=0, stream_usage=True, **fields
    )


def thought(message: AIMessage) -> int:
    assert message.usage_metadata is not None
    return message.usage_metadata["output_token_details"]["reasoning"]


def joined(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    """LangChain's own sum of the chunks of a stream."""
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


def test_invoke(chat: ChatOpenAI) -> None:
    answer = chat.invoke(HELLO)
    assert answer.content == "Hello, Rosa!"
    assert answer.response_metadata["finish_reason"] == "stop"
    assert thought(answer) > 0


def test_invoke_without_thinking(daemon: DaemonProcess) -> None:
    answer = model_at(daemon, extra_body={"enable_thinking": False}).invoke(HELLO)
    assert answer.content == "Hello, Rosa!"
    assert thought(answer) == 0


def test_a_system_message_and_the_history_are_read(chat: ChatOpenAI) -> None:
    answer = chat.invoke(
        [("system", "You are helpful."), ("human", HELLO), ("ai", "Hello, Rosa!"), ("human", "What is my name?")]
    )
    assert "Rosa" in answer.content


def test_stream(chat: ChatOpenAI) -> None:
    chunks = list(chat.stream(HELLO))
    assert sum(bool(chunk.content) for chunk in chunks) > 1
    answer = joined(chunks)
    assert answer.content == "Hello, Rosa!"
    assert answer.response_metadata["finish_reason"] == "stop"
    assert thought(answer) > 0


async def test_the_async_road_says_the_same(chat: ChatOpenAI) -> None:
    whole = await chat.ainvoke(HELLO)
    streamed = joined([chunk async for chunk in chat.astream(HELLO)])
    assert whole.content == streamed.content == "Hello, Rosa!"
    assert thought(whole) == thought(streamed)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_bound_tool_is_called_and_its_result_used(chat: ChatOpenAI, streamed: bool) -> None:
    # LangChain puts `type` last in the schema that it makes of a function, and the reference model only knows a tool
    # whose schema starts with it.
    bound = chat.bind_tools([WEATHER])
    messages: list[Any] = [HumanMessage("What is the weather in Lisbon?")]
    first = joined(list(bound.stream(messages))) if streamed else bound.invoke(messages)
    (call,) = first.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Lisbon"})
    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage)
    second = bound.invoke([*messages, first, result])
    assert "17" in second.content
    assert not second.tool_calls


def test_an_image(chat: ChatOpenAI) -> None:
    content: Any = [{"type": "text", "text": "What color is this image?"}, image_part((60, 170, 60))]
    assert "green" in chat.invoke([HumanMessage(content)]).content.lower()


def test_an_image_in_langchains_own_form(chat: ChatOpenAI) -> None:
    data = image_part((30, 60, 220))["image_url"]["url"].partition("base64,")[2]
    content: Any = [
        {"type": "text", "text": "What color is this image?"},
        {"type": "image", "base64": data, "mime_type": "image/png"},
    ]
    assert "blue" in chat.invoke([HumanMessage(content)]).content.lower()


def test_an_error(daemon: DaemonProcess) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        model_at(daemon, "gpt-x").invoke(HELLO)
    assert missing.value.code == "model_not_found"


def test_structured_output_is_a_pydantic_model(chat: ChatOpenAI) -> None:
    class Manners(BaseModel):
        polite: bool

    assert isinstance(chat.with_structured_output(Manners).invoke(HELLO), Manners)
