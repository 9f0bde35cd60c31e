"""The values of a call's arguments: typed by the tool's schema, whatever the model writes, streamed and whole."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.chat_client import ask, body, stream

pytestmark = pytest.mark.engine

NOW = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
WEATHER = "What is the weather in Paris?"

# Each value has one possibility, so that the grammar writes what a model would not think of.
TYPED: dict[str, Any] = {
    "count": 42,
    "ratio": 0.5,
    "paid": False,
    "city": "Zürich 東京 🦊",
    "guest": {"age": 7, "names": ["Ö", "a b"]},
    "rooms": [3, 3],
    "empty": {},
}
PROPERTIES: dict[str, Any] = {
    "count": {"type": "integer", "enum": [42]},
    "ratio": {"type": "number", "enum": [0.5]},
    "paid": {"type": "boolean", "enum": [False]},
    "city": {"type": "string", "enum": ["Zürich 東京 🦊"]},
    "guest": {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "enum": [7]},
            "names": {
                "type": "array",
                "prefixItems": [{"enum": ["Ö"]}, {"enum": ["a b"]}],
                "minItems": 2,
                "items": False,
            },
        },
        "required": ["age", "names"],
        "additionalProperties": False,
    },
    "rooms": {"type": "array", "items": {"type": "integer", "enum": [3]}, "minItems": 2, "maxItems": 2},
    "empty": {"type": "object", "additionalProperties": False},
}


def tool(name: str, properties: dict[str, Any], *, strict: bool = False) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "strict": strict, "parameters": parameters}}


def written(name: str, **parameters: str) -> str:
    """A call as the model writes it."""
    inside = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in parameters.items())
    return f"<tool_call>\n<function={name}>\n{inside}</function>\n</tool_call>"


async def called(client: httpx.AsyncClient, request: dict[str, Any]) -> tuple[str, str]:
    """The one call of an answer, name and arguments; a stream tells the same, its name once and first."""
    answer = (await ask(client, request))["choices"][0]
    (call,) = answer["message"]["tool_calls"]
    assert answer["finish_reason"] == "tool_calls"
    assert answer["message"]["content"] is None
    assert bool(answer["message"]["reasoning"]) is request["enable_thinking"]
    streamed = await stream(client, request)
    pieces = [
        piece
        for chunk in streamed.chunks
        for choice in chunk["choices"]
        for piece in choice["delta"].get("tool_calls") or []
    ]
    assert [piece["function"].get("name") for piece in pieces] == [
        call["function"]["name"],
        *[None] * (len(pieces) - 1),
    ]
    assert "".join(piece["function"]["arguments"] for piece in pieces) == call["function"]["arguments"]
    assert streamed.finish_reason == "tool_calls"
    return call["function"]["name"], call["function"]["arguments"]


@pytest.fixture(params=[True, False], ids=["thinking", "direct"])
def thinking(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"enable_thinking": request.param, "max_tokens": 1000}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "book"}}], ids=str)
async def test_every_type_of_a_strict_tools_schema(
    client: httpx.AsyncClient, thinking: dict[str, Any], choice: Any
) -> None:
    tools = [tool("book", PROPERTIES, strict=True)]
    name, arguments = await called(client, body("Say hello.", tools=tools, tool_choice=choice, **thinking))
    assert name == "book"
    assert json.loads(arguments) == TYPED
    assert "Zürich 東京 🦊" in arguments, "not in escapes"


async def test_a_tool_that_nobody_offered_is_the_clients_to_refuse(
    client: httpx.AsyncClient, thinking: dict[str, Any]
) -> None:
    """The form leaves the model this one answer; without a schema every value is the text that it is."""
    text = written("get_weather", city="Paris", days="5", now="true")
    request = body(WEATHER, tools=[NOW], structured_outputs={"choice": [text]}, **thinking)
    name, arguments = await called(client, request)
    assert name == "get_weather"
    assert json.loads(arguments) == {"city": "Paris", "days": "5", "now": "true"}


# What a schema says, what the model wrote for it, and what the client gets.
READ: dict[str, tuple[dict[str, Any], str, Any]] = {
    "integer": ({"type": "integer"}, "5", 5),
    "long": ({"type": "integer"}, "123456789012345678901", 123456789012345678901),
    "number": ({"type": "number"}, "1e3", 1000),
    "broken": ({"type": "number"}, "five", "five"),
    "boolean": ({"type": "boolean"}, "True", True),
    "nested": ({"type": "object"}, '{"a": {"ä": [1, null, "🦊"]}}', {"a": {"ä": [1, None, "🦊"]}}),
    "array": ({"type": "array"}, '["x", 2]', ["x", 2]),
    "string": ({"type": "string"}, "5", "5"),
    "lines": ({"type": "string"}, 'one "quoted"\n\ttwo\\', 'one "quoted"\n\ttwo\\'),
    "enum": ({"enum": [1, 2]}, "2", 2),
    "words": ({"enum": ["1", "2"]}, "2", "2"),
    "either": ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "null", None),
    "optional": ({"type": ["integer", "null"]}, "7", 7),
    "object as text": ({"type": "string"}, '{"a": 1}', '{"a": 1}'),
}


async def test_values_of_a_free_tool_get_their_schemas_types(
    client: httpx.AsyncClient, thinking: dict[str, Any]
) -> None:
    """The form leaves the model this one answer, since the tool that it would rather call is not allowed."""
    weather = tool("get_weather", {name.replace(" ", "_"): schema for name, (schema, _, _) in READ.items()})
    text = written("get_weather", **{name.replace(" ", "_"): value for name, (_, value, _) in READ.items()}, more="1")
    only_now = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "now"}}]},
    }
    request = body(
        WEATHER, tools=[weather, NOW], tool_choice=only_now, structured_outputs={"choice": [text]}, **thinking
    )
    name, arguments = await called(client, request)
    assert name == "get_weather"
    assert json.loads(arguments) == {name.replace(" ", "_"): value for name, (_, _, value) in READ.items()} | {
        "more": "1"
    }
