"""The OpenAPI document: what FastAPI finds in the routes, and what it cannot see there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from server.dialects.answer_schema import ErrorEnvelope

_SCHEMAS = "#/components/schemas/"


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"{_SCHEMAS}{model.__name__}"}


def json_content(model: type[BaseModel]) -> dict[str, Any]:
    """The `content` of a body or answer that FastAPI does not build; `describe` must be told of the model."""
    return {"application/json": {"schema": _reference(model)}}


def event_content(model: type[BaseModel]) -> dict[str, Any]:
    """The `content` of a stream of server-sent events that hold `model`, or one failure, and then `[DONE]`."""
    told = {"anyOf": [_reference(model), _reference(ErrorEnvelope)]}
    data = {"anyOf": [{"const": "[DONE]"}, {"contentMediaType": "application/json", "contentSchema": told}]}
    # `itemSchema` is OpenAPI 3.2's; before it, there was no word for what a stream is made of.
    event = {"type": "object", "properties": {"data": {"type": "string", **data}}, "required": ["data"]}
    return {"text/event-stream": {"itemSchema": event}}


def named_event_content(model: type[BaseModel], failure: type[BaseModel]) -> dict[str, Any]:
    """The `content` of a stream of server-sent events that are named by their type and hold `model`, or a failure."""
    told = {"anyOf": [_reference(model), _reference(failure)]}
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": told}
    event = {"type": "object", "properties": {"event": {"type": "string"}, "data": data}, "required": ["event", "data"]}
    return {"text/event-stream": {"itemSchema": event}}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that parses its body into `model` itself."""
    return {"requestBody": {"required": True, "content": json_content(model)}}


def failures(envelope: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of failures. With these FastAPI leaves out the 422 that it would answer by itself and that is
    never sent here.
    """
    return {
        "4XX": {"description": "The request cannot be served as it is", "content": json_content(envelope)},
        "5XX": {"description": "The server failed, or takes no requests now", "content": json_content(envelope)},
    }


FAILURES = failures(ErrorEnvelope)
"""Those of OpenAI's routes and of our own."""


def describe(app: FastAPI, models: Sequence[type[BaseModel]]) -> None:
    """Adds the schemas that `json_content` points to."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        _, schemas = models_json_schema(
            [(model, "validation") for model in models], ref_template=f"{_SCHEMAS}{{model}}"
        )
        document["components"]["schemas"].update(schemas["$defs"])
        return document

    app.openapi = openapi  # type: ignore[method-assign]
