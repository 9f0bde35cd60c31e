"""The database behind the store: how it is reached, and what keeps a call from waiting for it without end."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from server.store.errors import BROKEN, GONE, SLOW, StoreStartError, StoreUnavailable, why
from server.store.tables import create
from server.store.workers import Deadline

_SHARED_THREADS = 4
_WAL_BYTES = 64 * 2**20
"""Above which the write-ahead log is cut when it is next begun anew."""
_CHECKED_BYTES = 256 * 2**20
"""Up to which a file is read whole at the start, about a third of a second; the damage of a larger one shows later."""
_BUSY_PART = 0.9
"""Of the time left, so that a lock is told as a lock before the time is over."""
_VACUUM_PAGES = 2000
"""Free pages of 4 KiB that one purge gives back to the file system, so that it holds up no request for long."""


class Database:
    """Connections to one database. All methods but `threads` may wait for it: call them in a worker's thread."""

    def __init__(self, url: str | None, busy_seconds: float) -> None:
        """`url` as SQLAlchemy takes it, none for the embedded file. Connects to nothing yet. Raises StoreStartError."""
        self._url = _parsed(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        name = self._url.database or ""
        in_memory = self.is_sqlite and (name in ("", ":memory:") or name.startswith("file:"))
        self._file = Path(name) if self.is_sqlite and not in_memory else None
        self._identity: tuple[int, int] | None = None
        self.threads = 1 if self.is_sqlite else _SHARED_THREADS
        self._engine = self._make_engine(in_memory, busy_seconds)

    def prepare(self) -> None:
        """Makes the file and the tables where they are missing. Raises StoreStartError."""
        try:
            if self._file is not None:
                self._make_file(self._file)
            try:
                self._create_tables()
            except DBAPIError:
                # Of several daemons that start together one makes the tables, and the others' attempts fail.
                self._create_tables()
        except OSError as error:
            raise StoreStartError(f"{self._file}: {error.strerror or error}") from None
        except SQLAlchemyError as error:
            raise StoreStartError(self._told(error)) from None

    @contextmanager
    def transaction(self, deadline: Deadline, *, writes: bool) -> Iterator[Connection]:
        """One transaction, committed at the end unless the deadline was abandoned. Raises StoreUnavailable."""
        try:
            self._look_for_file()
            with self._engine.connect() as connection:
                if self.is_sqlite:
                    milliseconds = int(deadline.left * _BUSY_PART * 1000)
                    connection = connection.execution_options(writes=writes)
                    cursor = connection.connection.cursor()
                    cursor.execute(f"PRAGMA busy_timeout={milliseconds}")
                    cursor.close()
                with connection.begin():
                    yield connection
                    if deadline.abandoned:
                        raise StoreUnavailable(SLOW)
        except StoreStartError:  # of a file that was put into the place of ours
            raise StoreUnavailable(BROKEN) from None
        except (SQLAlchemyError, OSError) as error:
            # Not from the error, whose text has SQL, and a driver's perhaps the URL.
            raise StoreUnavailable(why(error)) from None

    def shrink(self, deadline: Deadline) -> bool:
        """Gives some free pages of an SQLite file back; True where more are left. Raises StoreUnavailable."""
        if not self.is_sqlite:
            return False
        with self.transaction(deadline, writes=True) as connection:
            connection.exec_driver_sql(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
            return bool(connection.exec_driver_sql("PRAGMA freelist_count").scalar())

    def close(self) -> None:
        """Closes the connections."""
        self._engine.dispose()

    def _make_engine(self, in_memory: bool, busy_seconds: float) -> Engine:
        options: dict[str, Any] = {"hide_parameters": True}
        if in_memory:
            options |= {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
        elif self.is_sqlite:
            options |= {"pool_size": 1, "max_overflow": 0, "connect_args": {"check_same_thread": False}}
        else:
            options |= {"pool_size": self.threads, "max_overflow": 0, "pool_pre_ping": True}
            options |= {"pool_timeout": busy_seconds, "connect_args": _patience(self._url, busy_seconds)}
        try:
            if self._url.get_dialect().is_async:
                raise StoreStartError("it names a driver for asyncio; any other will do, such as `postgresql+psycopg`")
            engine = create_engine(self._url, **options)
        except NoSuchModuleError:
            raise StoreStartError(f"SQLAlchemy knows no `{self._url.drivername}`") from None
        except ImportError as error:
            raise StoreStartError(f"it needs a Python package that is not installed: {error.name}") from None
        if self.is_sqlite:
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        elif self._url.get_backend_name() == "postgresql":
            milliseconds = max(1, int(busy_seconds * 1000))

            def bound_statements(connection: Any, record: object) -> None:
                cursor = connection.cursor()
                cursor.execute(f"SET statement_timeout = {milliseconds}")
                cursor.close()
                connection.commit()

            event.listen(engine, "connect", bound_statements)
        return engine

    def _make_file(self, file: Path) -> None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its write-ahead log the same mode.
        os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self._identity = _identity(file)

    def _create_tables(self) -> None:
        with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            if self._file is not None and self._file.stat().st_size <= _CHECKED_BYTES:
                found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
                if found != "ok":
                    raise StoreStartError("the file is damaged: put it aside, or a copy of it in its place")
            create(connection)

    def _look_for_file(self) -> None:
        """An open file that was removed would be written and lost, and SQLite would make an empty one anew."""
        if self._file is None:
            return
        try:
            found = _identity(self._file)
        except FileNotFoundError:
            self._engine.dispose()
            self._identity = None
            raise StoreUnavailable(GONE) from None
        if found != self._identity:
            self._engine.dispose()
            self._create_tables()
            self._identity = found

    def _told(self, error: SQLAlchemyError) -> str:
        """The driver's words, which the operator needs, without the password."""
        words = str(error.orig if isinstance(error, DBAPIError) else error).strip()
        if self._url.password:
            words = words.replace(str(self._url.password), "***")
        return f"{self._file or self._url.render_as_string(hide_password=True)}: {words}"


def _parsed(url: str | None) -> URL:
    if url is None:
        state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        file = Path(state).expanduser() / "qwend" / "responses.sqlite"
        return URL.create("sqlite", database=str(file))
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise StoreStartError("this is no SQLAlchemy URL") from None  # which is not repeated: it may hold a password


def _identity(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_dev, found.st_ino


def _patience(url: URL, seconds: float) -> dict[str, Any]:
    """Arguments that keep PostgreSQL's drivers from waiting long for a host that is silent. The URL's own win."""
    arguments: dict[str, Any] = {}
    if url.get_backend_name() == "postgresql":
        if url.get_driver_name() in ("psycopg", "psycopg2"):
            # libpq takes whole seconds, and no fewer than 2.
            arguments = {"connect_timeout": max(2, math.ceil(seconds)), "tcp_user_timeout": math.ceil(seconds * 1000)}
        elif url.get_driver_name() == "pg8000":
            arguments = {"timeout": seconds}
    return {name: value for name, value in arguments.items() if name not in url.query}


def _set_up_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # we say ourselves when a transaction begins
    cursor = connection.cursor()
    for pragma in (
        "busy_timeout=1000",
        "auto_vacuum=INCREMENTAL",  # before there is a table, or it has no effect
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"journal_size_limit={_WAL_BYTES}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes then could not wait for another's lock.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
