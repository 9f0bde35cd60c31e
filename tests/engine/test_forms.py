"""A form binds the answer, never the thinking; a form that makes no sense is refused by its name."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from tests.chat_client import WEATHER, ask, body, stream

pytestmark = pytest.mark.engine

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def by_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "form", "schema": schema}}}


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("form", [by_schema(PERSON), {"structured_outputs": {"json": PERSON}}, {"guided_json": PERSON}])
async def test_json_by_a_schema(client: httpx.AsyncClient, thinking: bool, form: dict[str, Any]) -> None:
    request = body("My name is Zubavo. Say hello.", enable_thinking=thinking, max_tokens=200, **form)
    message = (await ask(client, request))["choices"][0]["message"]
    told = json.loads(message["content"])
    assert set(told) == {"name", "age"}
    assert isinstance(told["age"], int)
    assert bool(message["reasoning"]) is thinking
    if thinking:
        assert message["reasoning"] == "The user is called Zubavo."
    assert (await stream(client, request)).content == message["content"]


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ({"structured_outputs": {"choice": ["yes", "no"]}}, "yes|no"),
        ({"guided_choice": ["yes", "no"]}, "yes|no"),
        ({"guided_regex": "[0-9]{3}"}, "[0-9]{3}"),
        ({"guided_grammar": 'root ::= "a" | "b"'}, "a|b"),
    ],
)
async def test_other_forms(client: httpx.AsyncClient, thinking: bool, form: dict[str, Any], pattern: str) -> None:
    message = (await ask(client, body("What is 2 + 2?", enable_thinking=thinking, **form)))["choices"][0]["message"]
    assert re.fullmatch(pattern, message["content"])
    assert bool(message["reasoning"]) is thinking


@pytest.mark.parametrize(
    "form", [{"response_format": {"type": "json_object"}}, {"structured_outputs": {"json_object": True}}]
)
async def test_any_json_object(client: httpx.AsyncClient, form: dict[str, Any]) -> None:
    # The model would write keys for long; this has it open the object and close it at once, as the grammar lets it.
    braces = [(await client.post("/tokenize", json={"prompt": brace})).json()["tokens"] for brace in "{}"]
    bias = {str(token): 100 for (token,) in braces}
    hasty = body("Say hello.", enable_thinking=False, max_tokens=20, logit_bias=bias, **form)
    choice = (await ask(client, hasty))["choices"][0]
    assert (json.loads(choice["message"]["content"]), choice["finish_reason"]) == ({}, "stop")
    message = (await ask(client, body("My name is Zubavo. Say hello.", max_tokens=60, **form)))["choices"][0]["message"]
    assert message["reasoning"] == "The user is called Zubavo."
    assert message["content"].startswith("{")


@pytest.mark.parametrize("thinking", [True, False])
async def test_tools_may_still_be_called(client: httpx.AsyncClient, thinking: bool) -> None:
    request = body("What is the weather in Paris?", enable_thinking=thinking, tools=[WEATHER], **by_schema(PERSON))
    (call,) = (await ask(client, request))["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"guided_regex": "["}, "guided_regex"),
        ({"guided_grammar": "root ::= nothing"}, "guided_grammar"),
        ({"guided_json": {"type": "nonsense"}}, "guided_json"),
        (by_schema({"$ref": "#/nowhere"}), "response_format.json_schema.schema"),
    ],
)
async def test_forms_that_make_no_sense(client: httpx.AsyncClient, form: dict[str, Any], param: str) -> None:
    response = await client.post("/v1/chat/completions", json=body(max_tokens=4, **form))
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
