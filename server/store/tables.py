"""The store's tables. Their names begin with `qwend_`, for the database may hold others."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    insert,
    inspect,
    select,
)

from server.store.errors import StoreStartError

VERSION = 1
"""Of the tables' form. A store with a later one is not touched."""

ID_LENGTH = 128
_NAME_LENGTH = 255
_DOCUMENT = LargeBinary(2**32 - 1)  # the length matters to MySQL alone, whose plain BLOB ends at 64 KiB

metadata = MetaData()

responses = Table(
    "qwend_responses",
    metadata,
    # The order in which they were stored, finer than seconds.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(ID_LENGTH), nullable=False, unique=True),
    Column("tenant", String(_NAME_LENGTH), nullable=False),
    Column("key_id", String(_NAME_LENGTH), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("writer", String(64), nullable=False),
    Column("response", _DOCUMENT, nullable=False),
    Column("conversation", _DOCUMENT, nullable=False),
)

# All that the bounds ask is in these, so that no document is read for it.
Index(
    "qwend_responses_by_age",
    responses.c.created_at,
    responses.c.number,
    responses.c.status,
    responses.c.size,
)
Index(
    "qwend_responses_by_owner",
    responses.c.tenant,
    responses.c.key_id,
    responses.c.created_at,
    responses.c.number,
    responses.c.status,
    responses.c.size,
)

writers = Table(
    "qwend_response_writers",
    metadata,
    Column("writer", String(64), primary_key=True),
    Column("seen_at", Float(53), nullable=False),
)
"""Each running daemon, and when it last said that it runs. Unix seconds."""

schema = Table("qwend_responses_schema", metadata, Column("version", Integer, primary_key=True, autoincrement=False))
"""One row. Whoever changes what the bounds count locks it first, where the database locks rows."""


def create(connection: Connection) -> None:
    """Makes what is missing, in the connection's transaction.

    Raises StoreStartError for tables of a later version or of another make.
    """
    metadata.create_all(connection)
    version = connection.scalar(select(schema.c.version))
    if version is None:
        connection.execute(insert(schema).values(version=VERSION))
    elif version != VERSION:
        raise StoreStartError(f"its tables have version {version}, and this qwend knows {VERSION}")
    found = inspect(connection)
    for table in metadata.sorted_tables:
        lacking = set(table.columns.keys()) - {each["name"] for each in found.get_columns(table.name)}
        if lacking:
            raise StoreStartError(f"its table {table.name} is of another make: it lacks {', '.join(sorted(lacking))}")
