"""The arguments of one tool call: Qwen's untyped XML parameters in, pieces of one JSON object out.

Qwen3.5 writes each argument as plain text; its type is in the tool's JSON schema alone. A parameter that can only be a
string is passed on as it comes; any other is held until it ends, since its text decides what it becomes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

# How deep a schema is followed through its unions.
_SCHEMA_DEPTH = 16

# Python's names for JSON's types, which tools made from signatures carry.
_ALIASES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "dict": "object", "list": "array"}

_STRING = frozenset({"string"})
_MAX_EXACT_FLOAT = 2**53
_SURROGATE = re.compile("[\ud800-\udfff]")
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class ArgumentsWriter:
    """Writes the arguments of one function's calls: each method returns the JSON that it adds, often none.

    A call is `open`, any number of `value`, then `close` or `cut` for each parameter, and `end`. What was returned adds
    up to one JSON object in `json.dumps` format. A name that comes twice is written twice, since what was sent cannot
    be taken back; JSON readers keep the last. After `end` the next call may begin.
    """

    def __init__(self, schema: Mapping[str, Any] | None) -> None:
        self._schema = schema if isinstance(schema, Mapping) else {}
        properties = self._schema.get("properties")
        self._properties: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
        self._types_of: dict[str, frozenset[str]] = {}
        self._lead = "{"
        self._key = ""
        self._types = _STRING
        self._streams = True
        self._pieces: list[str] = []

    def open(self, name: str) -> str:
        """A parameter begins."""
        types = self._types_of.get(name, _STRING)
        if name in self._properties and name not in self._types_of:
            types = self._types_of[name] = value_types(self._properties[name], self._schema)
        self._types = types
        self._streams = types == _STRING
        self._key = f"{self._lead}{_quoted(name)}: "
        if not self._streams:
            return ""
        self._lead = ", "
        return self._key + '"'

    def value(self, text: str) -> str:
        """More of the parameter's text."""
        if self._streams:
            return _quoted(text)[1:-1]
        self._pieces.append(text)
        return ""

    def close(self) -> str:
        """The parameter is whole."""
        if self._streams:
            return '"'
        self._lead = ", "
        text = "".join(self._pieces)
        self._pieces.clear()
        return self._key + typed_json(text, self._types)

    def cut(self) -> str:
        """The output ended within the parameter.

        A string keeps what came. Anything else is left out: a missing argument is noticed, but 100 for 1000 is not.
        """
        self._pieces.clear()
        return '"' if self._streams else ""

    def end(self) -> str:
        """The call is whole."""
        last, self._lead = ("{}" if self._lead == "{" else "}"), "{"
        return last


def value_types(schema: Any, root: Mapping[str, Any]) -> frozenset[str]:
    """The JSON types that a value may have by its schema; a parameter whose schema does not tell is a string.

    `root` is the schema that holds the definitions which `$ref` points to.
    """
    types: set[str] = set()
    _add_types(schema, root, types, set(), _SCHEMA_DEPTH)
    return frozenset(types)


def _add_types(schema: Any, root: Mapping[str, Any], types: set[str], followed: set[str], depth: int) -> None:
    """Adds the types of `schema`. A reference is followed once, so a schema that meets itself costs no more."""
    if not isinstance(schema, Mapping) or not depth:
        types.add("string")
        return
    known: list[str] = []
    declared = schema.get("type")
    for name in declared if isinstance(declared, list) else [declared]:
        if isinstance(name, str):
            known.append(_ALIASES.get(name.lower(), name.lower()))
    known += [_type_of(value) for value in _list_in(schema, "enum")]
    if "const" in schema:
        known.append(_type_of(schema["const"]))
    parts = [part for union in ("anyOf", "oneOf", "allOf") for part in _list_in(schema, union)]
    reference = schema.get("$ref")
    if not (known or parts or isinstance(reference, str)):
        known.append("object" if "properties" in schema else "array" if "items" in schema else "string")
    types.update(known)
    for part in parts:
        _add_types(part, root, types, followed, depth - 1)
    if isinstance(reference, str) and reference not in followed:
        followed.add(reference)
        _add_types(_definition(reference, root), root, types, followed, depth - 1)


def _list_in(schema: Mapping[str, Any], keyword: str) -> list[Any]:
    value = schema.get(keyword)
    return value if isinstance(value, list) else []


def _definition(reference: str, root: Mapping[str, Any]) -> Any:
    """What a local reference such as `#/$defs/Address` points to; None if there is no such thing."""
    found: Any = root
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (dict, "object")):
        if isinstance(value, kind):
            return name
    return "array"


def typed_json(text: str, types: frozenset[str]) -> str:
    """The JSON of what `text` stands for among `types`; of the text itself where it stands for none of them.

    Tried in this order: null, integer, number, boolean, then any JSON if an object or array may come. A parameter that
    may be none of these nor a string takes whatever JSON its text is.
    """
    for kind, read in _READERS:
        if kind in types:
            try:
                return _escaped(_encode(read(text)))
            except (ValueError, RecursionError):
                continue
    if "string" not in types:
        try:
            return _escaped(_encode(json.loads(text)))
        except (ValueError, RecursionError):
            pass
    return _quoted(text)


def _null(text: str) -> None:
    if text.lower() != "null":
        raise ValueError(text)


def _number(text: str) -> int | float:
    """Whole numbers as integers: `1.0` is 1, and a long one keeps all its digits."""
    try:
        return int(text)
    except ValueError:
        value = float(text)
    return int(value) if value.is_integer() and abs(value) <= _MAX_EXACT_FLOAT else value


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in ("true", "1"):
        return True
    if word in ("false", "0"):
        return False
    raise ValueError(text)


_READERS: tuple[tuple[str, Callable[[str], Any]], ...] = (
    ("null", _null),
    ("integer", int),
    ("number", _number),
    ("boolean", _boolean),
    ("object", json.loads),
    ("array", json.loads),
)


def _quoted(text: str) -> str:
    return _escaped(_encode(text))


def _escaped(encoded: str) -> str:
    """Lone surrogates as escapes: they have no UTF-8, so they could not be sent as they are."""
    if encoded.isascii() or not _SURROGATE.search(encoded):
        return encoded
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", encoded)
