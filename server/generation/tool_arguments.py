"""The arguments of one tool call: Qwen's untyped XML parameters in, pieces of one JSON object out.

Qwen3.5 writes each argument as plain text; its type is in the tool's JSON schema alone. A parameter that can only be a
string is passed on as it comes; any other is held until it ends, since its text decides what it becomes.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from typing import Any

_ANY = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})


class ArgumentsWriter:
    """Writes the JSON of one call's arguments. Feed it names and values in order; `drain` gives what is new.

    The concatenation of all drained pieces is valid JSON once `close` was called. A name that comes twice is written
    twice, as what was sent cannot be taken back; JSON readers keep the last.
    """

    def __init__(self, schema: Mapping[str, Any] | None) -> None:
        properties = (schema or {}).get("properties")
        self._properties: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
        self._out: list[str] = ["{"]
        self._first = True
        self._types: frozenset[str] = frozenset()
        self._held: list[str] = []

    def open_value(self, name: str) -> None:
        """A parameter begins."""
        self._types = value_types(self._properties.get(name))
        self._out.append(("" if self._first else ", ") + json.dumps(name, ensure_ascii=False) + ": ")
        self._first = False
        if self._streams:
            self._out.append('"')

    def value(self, text: str) -> None:
        """More of the parameter's text."""
        if self._streams:
            self._out.append(json.dumps(text, ensure_ascii=False)[1:-1])
        else:
            self._held.append(text)

    def close_value(self) -> None:
        """The parameter is whole."""
        if self._streams:
            self._out.append('"')
        else:
            self._out.append(json.dumps(typed("".join(self._held), self._types), ensure_ascii=False))
            self._held = []

    def close(self) -> None:
        """The object is whole."""
        self._out.append("}")

    def drain(self) -> str:
        """What was written since the last call."""
        piece = "".join(self._out)
        self._out.clear()
        return piece

    @property
    def _streams(self) -> bool:
        return self._types == {"string"}


def value_types(schema: Any) -> frozenset[str]:
    """The JSON types that a value of this schema may have; a parameter without a schema is a string."""
    if not isinstance(schema, Mapping):
        return frozenset({"string"})
    declared = schema.get("type")
    if isinstance(declared, str):
        return frozenset({declared})
    if isinstance(declared, list):
        return frozenset(each for each in declared if isinstance(each, str))
    for union in ("anyOf", "oneOf"):
        options = schema.get(union)
        if isinstance(options, list) and options:
            return frozenset().union(*map(value_types, options))
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(values, list) and values:
        return frozenset(_type_of(value) for value in values)
    if "properties" in schema:
        return frozenset({"object"})
    if "items" in schema:
        return frozenset({"array"})
    return _ANY if schema.keys() & {"$ref", "allOf"} else frozenset({"string"})


def typed(text: str, types: frozenset[str]) -> Any:
    """The value that `text` stands for among `types`; the text itself where it stands for none of them."""
    stripped = text.strip()
    if "null" in types and stripped.lower() in ("null", "none"):
        return None
    if "boolean" in types and stripped.lower() in ("true", "false"):
        return stripped.lower() == "true"
    value = _parsed(stripped)
    kind = _type_of(value)
    if kind in types or (kind == "integer" and "number" in types):
        return value
    if kind == "number" and "integer" in types and value.is_integer():
        return int(value)
    return text


def _parsed(text: str) -> Any:
    """The JSON value in `text`, or Python's spelling of one, which the model falls into; else the text."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
        return text if isinstance(value, float) and not math.isfinite(value) else value
    except (ValueError, RecursionError):
        pass
    if not text.startswith(("{", "[")):
        return text
    try:
        value = ast.literal_eval(text)
        json.dumps(value)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return text
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (dict, "object")):
        if isinstance(value, kind):
            return name
    return "array"
