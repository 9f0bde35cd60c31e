"""What is slow to follow is refused before the engine meets it, and what people write is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.engine.constraints import structured_outputs, try_out
from server.engine.torchvision_ops import ensure
from server.generation.conversation import Sampling, Structure, Tool, ToolChoice
from server.generation.errors import InvalidRequest
from server.generation.ports import Order

# Before anything imports vllm in this process.
ensure()


def order(kind: Any, value: Any) -> Order:
    return Order(Sampling(), 100, False, structure=Structure(kind, value, "here"))


def calling(parameters: dict[str, Any], **choice: Any) -> Order:
    tools = (Tool("free", None, {}), Tool("f", None, parameters, strict=True))
    return Order(Sampling(), 100, False, tools=tools, tool_choice=ToolChoice(**choice))


def options(count: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(count)}}


MANY_READINGS = "(.*)*" * 50
COUNTS = "((a{1,999}){1,999}){1,999}"
PATTERN = {"type": "object", "properties": {"a": {"type": "string", "pattern": COUNTS}}, "required": ["a"]}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("regex", MANY_READINGS),
        ("regex", COUNTS),
        ("regex", "(a|aa)+" * 100),
        ("regex", "key: " + MANY_READINGS),
        ("grammar", 'root ::= root root | "a" | ""'),
        ("grammar", 'root ::= "safe" | "x" any\nany ::= any any | [a-z]'),
        ("json_schema", PATTERN),
        ("json_schema", options(2000)),
        ("json_schema", {"anyOf": [options(400), options(400)]}),
    ],
)
def test_what_is_slow_to_follow_is_refused(kind: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        try_out(order(kind, value))
    assert (refused.value.code, refused.value.param) == ("too_complex", "here")


@pytest.mark.parametrize("choice", [{"required": True}, {}, {"parallel": False}])
def test_so_are_slow_tools(choice: dict[str, Any]) -> None:
    for parameters in (PATTERN, options(600)):
        with pytest.raises(InvalidRequest) as refused:
            try_out(calling(parameters, **choice))
        assert (refused.value.code, refused.value.param) == ("too_complex", "tools")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("regex", "(a+)+$"),
        ("regex", r"(\w+ ?)+"),
        ("regex", r"\d{4}-\d{2}-\d{2}(,\d{4}-\d{2}-\d{2})*"),
        ("regex", "a{1,1000000}"),
        ("regex", ".{0,5000}"),
        ("grammar", 'root ::= "(" root ")" | "x"'),
        ("grammar", 'root ::= sum\nsum ::= num ("+" num)*\nnum ::= [0-9]+'),
        ("grammar", "start: /[a-z]+/"),
        ("choice", ["yes", "no", '"', "größer"]),
        ("json_object", None),
        ("json_schema", {}),
        ("json_schema", options(400)),
        ("json_schema", {"type": "array", "items": {"$ref": "#"}}),
        ("json_schema", {"enum": [f"value {number}" for number in range(3000)]}),
    ],
)
def test_what_people_write_is_not(kind: str, value: Any) -> None:
    try_out(order(kind, value))
    assert structured_outputs(order(kind, value)) is not None


def test_ordinary_tools_are_not() -> None:
    tools = calling(options(30), required=True)
    try_out(tools)
    assert json.loads(structured_outputs(tools).structural_tag)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("grammar", "root ::= root"), ("json_schema", {"$ref": "#"}), ("regex", "["), ("grammar", "root ::= nothing")],
)
def test_a_form_that_allows_nothing_or_is_none_names_its_field(kind: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        try_out(order(kind, value))
    assert (refused.value.code, refused.value.param) == ("invalid_value", "here")
