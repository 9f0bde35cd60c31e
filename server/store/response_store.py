"""The store of responses: bounded in number, bytes and age, and never waited for without end."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from server.store.database import Database
from server.store.errors import SLOW, RecordTooLarge, StoreStartError, StoreUnavailable
from server.store.records import UNFINISHED, Owner, StoredResponse
from server.store.tables import ID_LENGTH, responses, schema, writers
from server.store.workers import Deadline, Workers
from server.store_settings import StoreSettings
from server.telemetry.logs import get_logger

__all__ = ["RecordTooLarge", "ResponseStore", "StoreStartError", "StoreUnavailable"]

_log = get_logger("store")

LEASE_SECONDS = 30.0
"""After how long without a sign of life a writer is taken for dead, and what it had not finished for lost."""
BEAT_SECONDS = 10.0
_PURGE_SECONDS = 300.0
_OPEN_SECONDS = 30.0
_AT_ONCE = 200
LOST = "The server was restarted before the response was finished."

_ID = re.compile(rf"[A-Za-z0-9_.-]{{1,{ID_LENGTH}}}")

T = TypeVar("T")


class ResponseStore:
    """Made by `open`. Every call that asks the database raises StoreUnavailable within `busy_seconds` if it cannot."""

    def __init__(self, settings: StoreSettings, database: Database, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._writer = uuid.uuid4().hex
        self._workers = Workers(database.threads)
        self._failing: str | None = None

    @classmethod
    async def open(cls, settings: StoreSettings, clock: Callable[[], float] = time.time) -> ResponseStore:
        """The store that `settings` describe, with its file and tables made where they are missing.

        `clock` gives Unix seconds; the clocks of replicas that share a database may differ by seconds, not by more.
        Raises StoreStartError, whose text names the setting.
        """
        url = settings.url.get_secret_value() if settings.url is not None else None
        store: ResponseStore | None = None
        try:
            store = cls(settings, Database(url, settings.busy_seconds), clock)
            await store._workers.run(_OPEN_SECONDS, lambda deadline: store._database.prepare())
            await store._beat()
        except (StoreStartError, StoreUnavailable, TimeoutError) as error:
            if store is not None:
                store._workers.stop()
            reason = SLOW if isinstance(error, TimeoutError) else getattr(error, "why", str(error))
            raise StoreStartError(
                f"`responses_store.url`: {reason}. Responses are stored there; `sqlite://` keeps them in memory, "
                "`responses_store.enabled=false` not at all."
            ) from None
        return store

    async def put(self, record: StoredResponse) -> None:
        """Stores a response, or replaces its own earlier state, and evicts what is over the bounds.

        Cancelled while it waits, it stores nothing. The oldest finished ones go, first of this key's share, then of
        all. A new response is refused with StoreUnavailable when all the room is taken by unfinished ones. Raises
        RecordTooLarge, and ValueError for an id that is malformed or another owner's.
        """
        self._check(record)
        await self._do(lambda connection: self._put(connection, record))

    async def replace(self, record: StoredResponse) -> bool:
        """Like `put` for a response that is still there: what was deleted meanwhile stays deleted, and gives False."""
        self._check(record)
        return await self._do(lambda connection: self._replace(connection, record))

    async def get(self, id: str, owner: Owner) -> StoredResponse | None:
        """The response; None where it is unknown, too old, or another owner's, with no way to tell which."""
        if not _ID.fullmatch(id):
            return None
        columns = responses.c
        wanted = select(columns.created_at, columns.status, columns.response, columns.conversation).where(
            *_is(id, owner), self._alive()
        )
        row = await self._do(lambda connection: connection.execute(wanted).one_or_none(), writes=False)
        if row is None:
            return None
        created_at, status, *documents = row
        response, conversation = map(bytes, documents)
        return StoredResponse(id, owner, created_at, status, response, conversation)

    async def delete(self, id: str, owner: Owner) -> bool:
        """Deletes the response; False where `get` would give None."""
        if not _ID.fullmatch(id):
            return False
        gone = delete(responses).where(*_is(id, owner), self._alive())
        return await self._do(lambda connection: connection.execute(gone).rowcount > 0)

    async def left_unfinished(self) -> int:
        """Makes failed ones of the responses whose daemon died while it made them; returns their number.

        Such are the queued and running ones of a writer that gave no sign of life for LEASE_SECONDS or closed its
        store. A writer that was taken for dead and is not puts its result over that.
        """
        return await self._do(self._fail_lost)

    async def purge(self) -> int:
        """Deletes the finished responses that are too old; returns their number."""
        total = 0
        while deleted := await self._do(self._purge_some):
            total += deleted
        while await self._run(self._database.shrink):
            pass
        return total

    async def watch(self) -> None:
        """Runs until cancelled: says that this daemon lives, looks for what others lost, and purges. Failures pass."""
        purged = -_PURGE_SECONDS
        while True:
            try:
                await self._beat()
                if lost := await self.left_unfinished():
                    _log.warning("responses of a daemon that died are failed", count=lost)
                if time.monotonic() - purged >= _PURGE_SECONDS:
                    purged = time.monotonic()
                    await self.purge()
            except StoreUnavailable:
                pass  # logged where it happened; the next round tries again
            await asyncio.sleep(BEAT_SECONDS)

    async def close(self) -> None:
        """Gives up this daemon's lease and closes the connections. Never raises for a store that is unavailable."""
        try:
            gone = delete(writers).where(writers.c.writer == self._writer)
            await self._do(lambda connection: connection.execute(gone))
            await self._run(lambda deadline: self._database.close())
        except StoreUnavailable:
            pass  # the lease runs out by itself, and the threads end with the process
        self._workers.stop()

    async def _do(self, act: Callable[[Connection], T], *, writes: bool = True) -> T:
        """`act` in a transaction of its own."""

        def call(deadline: Deadline) -> T:
            with self._database.transaction(deadline, writes=writes) as connection:
                return act(connection)

        return await self._run(call)

    async def _run(self, call: Callable[[Deadline], T]) -> T:
        try:
            answer = await self._workers.run(self._settings.busy_seconds, call)
        except TimeoutError:
            failure = StoreUnavailable(SLOW)
        except StoreUnavailable as error:
            failure = error
        else:
            if self._failing is not None:
                _log.info("the store of responses works again")
                self._failing = None
            return answer
        if self._failing != failure.why:
            _log.error("the store of responses is unavailable", why=failure.why)
            self._failing = failure.why
        raise failure

    def _check(self, record: StoredResponse) -> None:
        if not _ID.fullmatch(record.id):
            raise ValueError(f"an id of up to {ID_LENGTH} letters, digits, '_', '.' and '-' is needed")
        if record.size > self._settings.max_record_bytes:
            raise RecordTooLarge(
                f"This response and its conversation have {record.size} bytes, and at most "
                f"{self._settings.max_record_bytes} are stored. Send `store: false`, or a shorter conversation.",
                param="store",
            )

    def _alive(self) -> ColumnElement[bool]:
        """Not too old; what is unfinished never is."""
        young = responses.c.created_at > self._clock() - self._settings.lifetime_seconds
        return or_(young, responses.c.status.in_(UNFINISHED))

    # What follows runs in a worker's thread, in a transaction.

    def _put(self, connection: Connection, record: StoredResponse) -> None:
        if self._replace(connection, record):
            return
        if connection.scalar(select(responses.c.number).where(responses.c.id == record.id)) is not None:
            raise ValueError("the id is another owner's")
        owned = {"id": record.id, "tenant": record.owner.tenant, "key_id": record.owner.key_id}
        new = connection.execute(insert(responses).values(**owned, **self._values(record)))
        assert new.inserted_primary_key is not None
        if not self._make_room(connection, record.owner, new.inserted_primary_key[0]):
            raise StoreUnavailable("they are as many as are kept, and all of them unfinished")

    def _replace(self, connection: Connection, record: StoredResponse) -> bool:
        _take_turns(connection)
        changed = update(responses).where(*_is(record.id, record.owner)).values(**self._values(record))
        if connection.execute(changed).rowcount == 0:
            return False
        number = connection.scalar(select(responses.c.number).where(responses.c.id == record.id))
        # What was accepted is finished even where nothing can make room for it.
        self._make_room(connection, record.owner, number or 0)
        return True

    def _values(self, record: StoredResponse) -> dict[str, Any]:
        return {
            "created_at": record.created_at,
            "status": record.status,
            "size": record.size,
            "writer": self._writer,
            "response": record.response,
            "conversation": record.conversation,
        }

    def _make_room(self, connection: Connection, owner: Owner, kept: int) -> bool:
        """Evicts until the owner's share and the whole are within their bounds; False where they cannot be."""
        settings = self._settings
        own = and_(responses.c.tenant == owner.tenant, responses.c.key_id == owner.key_id)
        return _evict(connection, (own,), settings.max_entries_per_key, settings.max_bytes_per_key, kept) and _evict(
            connection, (), settings.max_entries, settings.max_bytes, kept
        )

    def _purge_some(self, connection: Connection) -> int:
        """A bounded number, so that requests come between."""
        _take_turns(connection)
        old = select(responses.c.number).where(
            responses.c.created_at <= self._clock() - self._settings.lifetime_seconds,
            responses.c.status.not_in(UNFINISHED),
        )
        numbers = connection.scalars(old.limit(_AT_ONCE)).all()
        if numbers:
            connection.execute(delete(responses).where(responses.c.number.in_(numbers)))
        return len(numbers)

    def _fail_lost(self, connection: Connection) -> int:
        _take_turns(connection)
        now = self._clock()
        connection.execute(
            delete(writers).where(writers.c.seen_at < now - LEASE_SECONDS, writers.c.writer != self._writer)
        )
        living = select(writers.c.writer)
        lost = select(responses.c.number, responses.c.response).where(
            responses.c.status.in_(UNFINISHED),
            responses.c.writer != self._writer,
            responses.c.writer.not_in(living),
        )
        rows = connection.execute(lost).all()
        for number, response in rows:
            failed = _failed(bytes(response))
            connection.execute(
                update(responses)
                .where(responses.c.number == number)
                .values(status="failed", response=failed, size=responses.c.size - len(response) + len(failed))
            )
        return len(rows)

    async def _beat(self) -> None:
        """Renews the lease."""

        def beat(connection: Connection) -> None:
            seen = update(writers).where(writers.c.writer == self._writer).values(seen_at=self._clock())
            if connection.execute(seen).rowcount == 0:
                connection.execute(insert(writers).values(writer=self._writer, seen_at=self._clock()))

        await self._do(beat)


def _is(id: str, owner: Owner) -> tuple[ColumnElement[bool], ...]:
    columns = responses.c
    return columns.id == id, columns.tenant == owner.tenant, columns.key_id == owner.key_id


def _take_turns(connection: Connection) -> None:
    """Lets one transaction at a time change what the bounds count. SQLite needs no such lock and takes none."""
    connection.execute(select(schema.c.version).with_for_update()).all()


def _evict(
    connection: Connection, of: tuple[ColumnElement[bool], ...], max_entries: int, max_bytes: int, kept: int
) -> bool:
    """Deletes the oldest finished responses, never the number `kept`, until the others fit; False where they do not."""
    columns = responses.c
    entries, size = connection.execute(select(func.count(), func.sum(columns.size)).where(*of)).one()
    evictable = (
        select(columns.number, columns.size)
        .where(*of, columns.status.not_in(UNFINISHED), columns.number != kept)
        .order_by(columns.created_at, columns.number)
        .limit(_AT_ONCE)
    )
    while entries > max_entries or size > max_bytes:
        victims = []
        for number, bytes_freed in connection.execute(evictable):
            if entries <= max_entries and size <= max_bytes:
                break
            victims.append(number)
            entries -= 1
            size -= bytes_freed
        if not victims:
            return False
        connection.execute(delete(responses).where(columns.number.in_(victims)))
    return True


def _failed(response: bytes) -> bytes:
    """The response object with the status and the error of one that was lost."""
    try:
        found = orjson.loads(response)
    except orjson.JSONDecodeError:
        return response
    if not isinstance(found, dict):
        return response
    return orjson.dumps({**found, "status": "failed", "error": {"code": "server_error", "message": LOST}})
