"""Bytes to a wire model, and pydantic's complaints to one clear error that names the parameter."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from server.dialects.decisions import Decision
from server.generation.errors import InvalidRequest

Model = TypeVar("Model", bound=BaseModel)

_MISSING = ("missing", "union_tag_not_found")


def parse_body(model: type[Model], body: bytes | bytearray) -> Model:
    """The request that `body` holds. Raises InvalidRequest, with `param` set unless the body is no JSON object."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _first_error(model, error, body) from None


def _first_error(model: type[BaseModel], error: ValidationError, body: bytes | bytearray) -> InvalidRequest:
    # Of the alternatives of a union, the one that got deepest is what the client most likely meant.
    worst: Any = max(error.errors(include_url=False), key=lambda each: len(each["loc"]))
    kind, context = worst["type"], worst.get("ctx", {})
    if kind == "json_invalid":
        return InvalidRequest(f"The body is not valid JSON: {context['error']}.", code="invalid_json")
    loc = worst["loc"]
    if kind.startswith("union_tag"):
        loc = (*loc, context["discriminator"].strip("'"))
    param = _path(loc, json.loads(body), missing=kind in _MISSING)
    if param is None:
        return InvalidRequest("The body must be a JSON object.", code="invalid_type")
    if kind in _MISSING:
        message = f"Missing required parameter: '{param}'."
        return InvalidRequest(message, param=param, code="missing_required_parameter")
    complaint = _complaint(kind, context, worst["msg"])
    return InvalidRequest(f"Invalid '{param}': {complaint}.{_advice(model, param)}", param=param)


def _advice(model: type[BaseModel], param: str) -> str:
    """Why a field is refused that is refused whatever it holds, and what to do instead."""
    field = model.model_fields.get(param)
    extra = field.json_schema_extra if field is not None else None
    refused = isinstance(extra, dict) and extra.get("decision") == Decision.REFUSED
    return f" {field.description}" if field is not None and refused else ""


def _complaint(kind: str, context: dict[str, Any], message: str) -> str:
    if kind == "union_tag_invalid":
        return f"{context['tag']!r} is not one of {context['expected_tags']}"
    if kind == "too_short":
        return f"it must have at least {context['min_length']} item(s)"
    if kind == "value_error":
        return str(context["error"])
    return message[:1].lower() + message[1:]


def _path(loc: tuple[int | str, ...], data: Any, *, missing: bool) -> str | None:
    """The place in the client's JSON, such as `messages[0].content`; pydantic's own tags of unions are left out."""
    path = ""
    for position, item in enumerate(loc):
        if isinstance(item, int) and isinstance(data, list) and item < len(data):
            path, data = f"{path}[{item}]", data[item]
        elif isinstance(data, dict) and item in data:
            path, data = f"{path}.{item}", data[item]
        elif missing and position == len(loc) - 1:
            path = f"{path}.{item}"
    return path.removeprefix(".") or None
