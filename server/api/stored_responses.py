"""What can be done with a response that is stored, or that is made in the background."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.auth import RESPONSES, caller
from server.api.responses import ANSWERS
from server.api.service import Service, service
from server.dialects.responses_schema import InputItems, ResponseDeleted, ResponseObject
from server.generation.errors import InvalidRequest
from server.store.records import UNFINISHED, Owner, StoredResponse

router = APIRouter(dependencies=[RESPONSES])

_MOST_LISTED = 100
_LISTED = 20
_LONGEST_NUMBER = 9

_GET_PARAMETERS = [
    {"name": "stream", "in": "query", "schema": {"type": "boolean"}},
    {"name": "starting_after", "in": "query", "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999}},
]
_LIST_PARAMETERS = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": _MOST_LISTED}},
    {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"]}},
    {"name": "after", "in": "query", "schema": {"type": "string"}},
]


class ResponseNotFound(InvalidRequest):
    """There is no such response, or it is another key's."""

    status = 404
    code = "response_not_found"


class ResponseElsewhere(InvalidRequest):
    """Another replica makes the response."""

    status = 409
    code = "response_elsewhere"


@router.get("/v1/responses/{response_id}", responses=ANSWERS, openapi_extra={"parameters": _GET_PARAMETERS})
async def get_response(request: Request, response_id: str) -> Response:
    """A response as it is now; with `stream` the events of one in the background, after number `starting_after`."""
    at, owner = service(request), _owner(request)
    made = at.background.find(response_id, owner)
    if _switched_on(request, "stream"):
        after = _number(request, "starting_after", -1, least=0, most=10**_LONGEST_NUMBER)
        if made is not None and made.followed:
            return made.followed_by(at, after, {})
        await _stored(at, response_id, owner)
        raise InvalidRequest(
            "Only a response that was created with `background` and `stream` can be streamed, until some minutes after "
            "its end.",
            param="stream",
        )
    return _json(made.response.json() if made is not None else (await _stored(at, response_id, owner)).response)


@router.delete("/v1/responses/{response_id}", responses={200: {"model": ResponseDeleted}})
async def delete_response(request: Request, response_id: str) -> Response:
    """Deletes a response; one that is being made in the background is cancelled first."""
    at, owner = service(request), _owner(request)
    made = at.background.find(response_id, owner)
    if made is not None:
        await at.background.cancel(made)
        at.background.forget(response_id)
    deleted = at.store is not None and await at.store.delete(response_id, owner)
    if made is None and not deleted:
        raise _not_found(response_id)
    return _json({"id": response_id, "object": "response", "deleted": True})


@router.post("/v1/responses/{response_id}/cancel", responses={200: {"model": ResponseObject}})
async def cancel_response(request: Request, response_id: str) -> Response:
    """Ends a response that is being made in the background; one that was cancelled before is told as it is."""
    at, owner = service(request), _owner(request)
    made = at.background.find(response_id, owner)
    if made is not None and not made.ended:
        await at.background.cancel(made)
        return _json(made.response.json())
    record = await _stored(at, response_id, owner)
    if record.status == "cancelled":
        return _json(record.response)
    if record.status in UNFINISHED:
        raise ResponseElsewhere(
            "This response is not made in the background, or by another replica: only who makes it can cancel it."
        )
    raise InvalidRequest(f"A response that is {record.status} cannot be cancelled.", code="response_ended")


@router.get(
    "/v1/responses/{response_id}/input_items",
    responses={200: {"model": InputItems}},
    openapi_extra={"parameters": _LIST_PARAMETERS},
)
async def list_input_items(request: Request, response_id: str) -> Response:
    """The items that led to a response, those of the responses before it among them; the latest first."""
    at, owner = service(request), _owner(request)
    limit = _number(request, "limit", _LISTED, least=1, most=_MOST_LISTED)
    order, after = request.query_params.get("order", "desc"), request.query_params.get("after")
    if order not in ("asc", "desc"):
        raise InvalidRequest("Invalid 'order': it must be 'asc' or 'desc'.", param="order")
    conversation = (await _stored(at, response_id, owner)).conversation
    # It may hold images.
    items: list[dict[str, Any]] = await asyncio.to_thread(orjson.loads, conversation)
    if order == "desc":
        items.reverse()
    if after is not None:
        place = next((index for index, item in enumerate(items) if item["id"] == after), None)
        if place is None:
            raise InvalidRequest("Invalid 'after': the response has no such item.", param="after")
        items = items[place + 1 :]
    shown = items[:limit]
    return _json(
        {
            "object": "list",
            "data": shown,
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
            "has_more": len(items) > limit,
        }
    )


def _owner(request: Request) -> Owner:
    sender = caller(request)
    return Owner(sender.tenant.name, sender.key_id)


async def _stored(at: Service, response_id: str, owner: Owner) -> StoredResponse:
    record = None if at.store is None else await at.store.get(response_id, owner)
    if record is None:
        raise _not_found(response_id)
    return record


def _not_found(response_id: str) -> ResponseNotFound:
    return ResponseNotFound(f"Response with id {response_id!r} not found.")


def _switched_on(request: Request, name: str) -> bool:
    said = request.query_params.get(name, "false").lower()
    if said not in ("true", "false"):
        raise InvalidRequest(f"Invalid '{name}': it must be 'true' or 'false'.", param=name)
    return said == "true"


def _number(request: Request, name: str, default: int, *, least: int, most: int) -> int:
    said = request.query_params.get(name)
    if said is None:
        return default
    if not (said.isascii() and said.isdigit() and len(said) <= _LONGEST_NUMBER and least <= int(said) <= most):
        raise InvalidRequest(f"Invalid '{name}': it must be a whole number from {least} to {most}.", param=name)
    return int(said)


def _json(told: dict[str, Any] | bytes) -> Response:
    return Response(told if isinstance(told, bytes) else orjson.dumps(told), media_type="application/json")
