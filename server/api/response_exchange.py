"""One request to `/v1/responses`: what it asks, what it refers to, and the response that it becomes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

import orjson

from server.admission.tenants import Caller
from server.api.asking import priority_class, tier_name
from server.api.chat import with_tenants_choice
from server.api.parsing import check_known
from server.api.service import Service
from server.dialects.parsing import parse_body
from server.dialects.responses_items import ItemIn, read_items
from server.dialects.responses_output import Response, WholeResponse, input_json, new_response_id, response_of_item
from server.dialects.responses_request import ResponsesRequest, resolved_items, to_conversation
from server.dialects.responses_stream import ResponseStream
from server.generation.conversation import Conversation
from server.generation.errors import InvalidRequest
from server.generation.expectation import Expectation
from server.generation.merged_generation import RunningGeneration
from server.generation.pipeline import Pipeline
from server.generation.ports import Permit
from server.generation.truncation import submit_fitted
from server.store.records import UNFINISHED, Owner, StoredResponse
from server.store.response_store import ResponseStore

# Above this size stored JSON is read in a thread, as bodies are.
_READ_ON_LOOP_BYTES = 64 * 1024


class ResponsesExchange:
    """See `server.api.answering.Exchange`. `look_up` must come between parsing and all else."""

    def __init__(self, body: bytearray, at: Service, sender: Caller) -> None:
        self.asked = asked = parse_body(ResponsesRequest, body)
        at.served(asked.model, sender)
        check_known(asked.ignored, at)
        self._at = at
        self._sender = sender
        self._store = at.store
        self.owner = Owner(sender.tenant.name, sender.key_id)
        self.stored = _is_stored(asked, at.store)
        self.priority = priority_class(asked.service_tier, sender)
        self.ignored = asked.ignored
        self.streamed = bool(asked.stream)
        self.background = bool(asked.background)
        tier = None if asked.service_tier is None else tier_name(self.priority)
        self.response = Response(asked, new_response_id(), stored=self.stored, tier=tier)
        self.conversation = Conversation(messages=())
        self._input = b"[]"

    async def look_up(self) -> None:
        """Fetches what the request goes on from and refers to. Raises InvalidRequest where it is not there, and
        StoreUnavailable.
        """
        previous = await self._previous()
        found = await self._referred()
        large = sum(len(each) for record in (previous, *found.values()) if record for each in _documents(record))
        build = asyncio.to_thread if large > _READ_ON_LOOP_BYTES else _at_once
        self.conversation, self._input = await build(self._build, previous, found)

    def expect(self, pipeline: Pipeline) -> Sequence[Expectation]:
        """What it will take."""
        return [pipeline.expect(self.conversation)]

    async def start(self, pipeline: Pipeline, permits: Sequence[Permit]) -> RunningGeneration:
        """Hands it to the engine, shortened if it may be and must."""
        (permit,) = permits
        start = submit_fitted if self.asked.truncation == "auto" else Pipeline.start
        try:
            return await start(pipeline, f"response-{uuid.uuid4().hex}", self.conversation, permit)
        except InvalidRequest as error:
            # The core's word for what is too long or too many is the other dialects'.
            error.param = "input" if error.param == "messages" else error.param
            raise

    def frames(self, running: RunningGeneration) -> ResponseStream:
        """What streams it."""
        return ResponseStream(self.response)

    def whole(self, running: RunningGeneration) -> WholeResponse:
        """What puts it together."""
        return WholeResponse(self.response)

    def record(self) -> StoredResponse:
        """The response as it is now, to be stored."""
        told = self.response.json()
        return StoredResponse(
            id=self.response.id,
            owner=self.owner,
            created_at=self.response.created,
            status=told["status"],
            response=orjson.dumps(told),
            conversation=self._input,
        )

    def release(self) -> None:
        """Lets go of the conversation, which may hold images: the response has ended and is stored."""
        self.conversation, self._input = Conversation(messages=()), b"[]"

    async def _previous(self) -> StoredResponse | None:
        id = self.asked.previous_response_id
        if id is None:
            return None
        record = None if self._store is None else await self._store.get(id, self.owner)
        if record is None:
            raise InvalidRequest(
                f"Previous response with id {id!r} not found: it was not stored, or is stored no more.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        if record.status in UNFINISHED:
            raise InvalidRequest(
                f"The response {id!r} is not finished yet.",
                param="previous_response_id",
                code="previous_response_unfinished",
            )
        return record

    async def _referred(self) -> dict[str, StoredResponse | None]:
        """The responses that have the items which the input refers to, by their ids."""
        ids = {found for each in self.asked.references if (found := response_of_item(each)) is not None}
        if self._store is None:
            return {}
        return {id: await self._store.get(id, self.owner) for id in sorted(ids)}

    def _build(
        self, previous: StoredResponse | None, found: dict[str, StoredResponse | None]
    ) -> tuple[Conversation, bytes]:
        earlier_json = b"[]" if previous is None else _joined(*_documents(previous))
        by_id: dict[str, ItemIn] = {}
        for record in found.values():
            if record is not None:
                by_id |= {item.id: item for item in read_items(_joined(*_documents(record))) if item.id is not None}
        own = resolved_items(self.asked, by_id)
        conversation = to_conversation(self.asked, read_items(earlier_json), own, self._at.limits)
        kept = _joined(earlier_json, orjson.dumps(input_json(own, self.response.id))) if self.stored else b"[]"
        return with_tenants_choice(conversation, self._sender.tenant), kept


def _is_stored(asked: ResponsesRequest, store: ResponseStore | None) -> bool:
    """Whether the response is to be kept. Raises InvalidRequest where it must be and cannot."""
    if store is None and asked.store:
        raise InvalidRequest("This server stores nothing; leave `store` out, or send false.", param="store")
    stored = store is not None and asked.store is not False
    if asked.background and not stored:
        raise InvalidRequest(
            "A response in the background must be stored: `background` needs `store`.", param="background"
        )
    return stored


def _documents(record: StoredResponse) -> tuple[bytes, bytes]:
    """Two arrays of items, as JSON: what led to the response, and what it is made of."""
    output: Any = orjson.loads(record.response)["output"]
    return record.conversation, orjson.dumps(output)


def _joined(first: bytes, second: bytes) -> bytes:
    """Two JSON arrays as one."""
    inner = [each for array in (first, second) if (each := array.strip()[1:-1].strip())]
    return b"[" + b",".join(inner) + b"]"


async def _at_once(build: Any, *arguments: Any) -> Any:
    return build(*arguments)
