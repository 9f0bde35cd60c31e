"""A response that somebody waits for, kept in the store: from the engine's acceptance to its end, whatever ends it."""

from __future__ import annotations

import contextlib

from server.api.response_exchange import ResponsesExchange
from server.api.service import Service
from server.generation.errors import RequestFailed


class Keeping:
    """Stores one response, or nothing where the request asks for that."""

    def __init__(self, at: Service, exchange: ResponsesExchange) -> None:
        self._store = at.store if exchange.stored else None
        self._background = at.background
        self._exchange = exchange

    async def begin(self) -> None:
        """Before anything is sent, so that a store which fails is told by the status. Raises StoreUnavailable, and
        RecordTooLarge.
        """
        if self._store is not None:
            await self._store.put(self._exchange.record())

    async def settle(self) -> None:
        """At its end, before the client is told of it. Raises as `begin` does."""
        if self._store is not None:
            await self._store.replace(self._exchange.record())

    def give_up(self, error: RequestFailed | None = None) -> None:
        """It failed, or without an error its client has gone: stored as such, and nobody waits for that. Does nothing
        once it has ended.
        """
        if self._exchange.response.status == "in_progress":
            self._exchange.response.end_early(error)
            self._background.finish_later(self._settle_quietly())

    async def _settle_quietly(self) -> None:
        # Logged by the store; the response is failed as lost when the daemon is started again.
        with contextlib.suppress(RequestFailed):
            await self.settle()
