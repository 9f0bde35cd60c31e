"""The types that a schema allows, where it is unlike what people write by hand."""

from __future__ import annotations

from typing import Any

import pytest

from server.generation.tool_arguments import ArgumentsWriter, value_types


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        (None, {"string"}),
        (True, {"string"}),
        ({}, {"string"}),
        ({"type": "string", "enum": ["1"]}, {"string"}),
        ({"type": ["integer", "null", 7]}, {"integer", "null"}),
        ({"enum": [1, 1.5, None, True, "a", [], {}]},
         {"integer", "number", "null", "boolean", "string", "array", "object"}),
        ({"anyOf": [{"type": "string"}, {"oneOf": [{"type": "number"}]}]}, {"string", "number"}),
        ({"allOf": [{"$ref": "#/$defs/Rows"}]}, {"array"}),
        ({"properties": {"a": {}}}, {"object"}),
        ({"items": {}}, {"array"}),
        ({"$ref": "#/$defs/Loop"}, {"integer"}),
        ({"$ref": "#/$defs/Loop/anyOf"}, {"string"}),
        ({"$ref": "elsewhere.json"}, {"string"}),
        ({"type": "Bool"}, {"boolean"}),
    ],
)  # fmt: skip
def test_types_of_a_schema(schema: Any, types: set[str]) -> None:
    definitions = {"Rows": {"items": {}}, "Loop": {"anyOf": [{"$ref": "#/$defs/Loop"}, {"type": "integer"}]}}
    assert value_types(schema, {"$defs": definitions}) == types


def test_schemas_that_meet_themselves_cost_no_more_than_their_size() -> None:
    names = [f"N{at}" for at in range(7)]
    everyone = [{"$ref": f"#/$defs/{name}"} for name in names]
    root = {"$defs": {name: {"type": "integer", "anyOf": everyone} for name in names}}
    # Followed at every place, these references would be 7 ** 8.
    assert value_types(everyone[0], root) == {"integer"}


@pytest.mark.parametrize("schema", [None, {}, {"properties": None}, {"properties": {"a": None}}, {"properties": []}])
def test_without_a_usable_schema_everything_is_a_string(schema: Any) -> None:
    writer = ArgumentsWriter(schema)
    assert writer.open("a") + writer.value("1") + writer.close() + writer.end() == '{"a": "1"}'
