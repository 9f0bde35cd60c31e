"""Which tools may be called: every choice, bound and free, streamed and whole."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.chat_client import WEATHER, ask, body, stream

pytestmark = pytest.mark.engine

NOW = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
HELLO = "My name is Zubavo. Say hello."
TWO = "What is the weather in Paris and Rome?"
BOOK = {
    "type": "function",
    "function": {
        "name": "book",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {
                "count": {"type": "integer", "minimum": 1, "maximum": 9},
                "paid": {"type": "boolean"},
                "kind": {"type": "string", "enum": ["größer", "smaller"]},
                "guest": {
                    "type": "object",
                    "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}},
                    "required": ["age"],
                    "additionalProperties": False,
                },
                "rooms": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 2},
            },
            "required": ["count", "paid", "kind", "guest", "rooms"],
            "additionalProperties": False,
        },
    },
}

NOWHERE = {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}


def strict(tool: dict[str, Any]) -> dict[str, Any]:
    return {**tool, "function": {**tool["function"], "strict": True}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def only(mode: str, *names: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named(name) for name in names]}}


async def calls(client: httpx.AsyncClient, request: dict[str, Any]) -> list[tuple[str, str]]:
    """The calls of an answer, which a stream tells as well; each call's arguments are a JSON object."""
    answer = (await ask(client, request))["choices"][0]
    told = [
        (call["function"]["name"], call["function"]["arguments"]) for call in answer["message"].get("tool_calls", [])
    ]
    streamed = await stream(client, request)
    assert streamed.tool_calls() == told
    assert streamed.finish_reason == answer["finish_reason"]
    assert answer["finish_reason"] == ("tool_calls" if told else "stop")
    assert bool(answer["message"]["reasoning"]) is request["enable_thinking"]
    assert all(isinstance(json.loads(arguments), dict) for _, arguments in told)
    return told


@pytest.fixture(params=[True, False], ids=["thinking", "direct"])
def thinking(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"enable_thinking": request.param, "max_tokens": 400}


async def test_required_calls_where_nothing_asks_for_it(client: httpx.AsyncClient, thinking: dict[str, Any]) -> None:
    told = await calls(client, body(HELLO, tools=[strict(WEATHER), strict(NOW)], tool_choice="required", **thinking))
    assert told
    assert {name for name, _ in told} <= {"get_weather", "now"}


@pytest.mark.parametrize("tool", [NOW, strict(NOW)], ids=["free", "strict"])
async def test_a_named_tool_is_called_once(
    client: httpx.AsyncClient, thinking: dict[str, Any], tool: dict[str, Any]
) -> None:
    told = await calls(client, body(HELLO, tools=[WEATHER, tool], tool_choice=named("now"), **thinking))
    assert [name for name, _ in told] == ["now"]
    if "strict" in tool["function"]:
        assert told == [("now", "{}")]


@pytest.mark.parametrize("tool", [WEATHER, strict(WEATHER)], ids=["free", "strict"])
async def test_two_calls_at_once_unless_switched_off(
    client: httpx.AsyncClient, thinking: dict[str, Any], tool: dict[str, Any]
) -> None:
    both = [("get_weather", '{"city": "Paris"}'), ("get_weather", '{"city": "Rome"}')]
    assert await calls(client, body(TWO, tools=[tool], **thinking)) == both
    assert await calls(client, body(TWO, tools=[tool], parallel_tool_calls=False, **thinking)) == both[:1]


async def test_auto_with_a_strict_tool_may_answer_without(client: httpx.AsyncClient, thinking: dict[str, Any]) -> None:
    assert await calls(client, body(HELLO, tools=[strict(WEATHER)], **thinking)) == []


async def test_allowed_tools_leave_the_others_alone(client: httpx.AsyncClient, thinking: dict[str, Any]) -> None:
    weather = body("What is the weather in Paris?", tools=[WEATHER, NOW], **thinking)
    required = await calls(client, {**weather, "tool_choice": only("required", "now")})
    assert {name for name, _ in required} == {"now"}
    allowed = {**weather, "tool_choice": only("auto", "get_weather")}
    assert await calls(client, allowed) == [("get_weather", '{"city": "Paris"}')]


async def test_strict_arguments_keep_to_the_schema(client: httpx.AsyncClient, thinking: dict[str, Any]) -> None:
    ((name, arguments),) = await calls(client, body(HELLO, tools=[BOOK], tool_choice=named("book"), **thinking))
    told = json.loads(arguments)
    assert name == "book"
    assert set(told) == set(BOOK["function"]["parameters"]["properties"])
    assert isinstance(told["count"], int)
    assert isinstance(told["paid"], bool)
    assert told["kind"] in ("größer", "smaller")
    assert isinstance(told["guest"]["age"], int)
    assert all(isinstance(room, int) for room in told["rooms"])


async def test_a_call_cut_by_max_tokens_is_whole_json_and_says_length(client: httpx.AsyncClient) -> None:
    request = body("What is the weather in Paris?", tools=[WEATHER], enable_thinking=False)
    whole = (await ask(client, request))["usage"]["completion_tokens"]
    lengths = set()
    for tokens in range(1, whole):
        choice = (await ask(client, {**request, "max_tokens": tokens}))["choices"][0]
        assert choice["finish_reason"] == "length"
        for call in choice["message"].get("tool_calls", []):
            lengths.add(len(json.loads(call["function"]["arguments"])))
    assert lengths == {0, 1}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": named("other")}, "tool_choice"),
        (
            {
                "tools": [
                    strict({**WEATHER, "function": {"name": "f", "parameters": {"properties": {"a": {"$ref": "#/x"}}}}})
                ]
            },
            "tools",
        ),
    ],
)
async def test_choices_that_make_no_sense(client: httpx.AsyncClient, fields: dict[str, Any], param: str) -> None:
    response = await client.post("/v1/chat/completions", json=body(max_tokens=4, **fields))
    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text
