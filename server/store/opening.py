"""Which store a daemon gets: the one that is asked for, or memory where nobody asked and no file can be had."""

from __future__ import annotations

from pydantic import SecretStr

from server.store.response_store import ResponseStore, StoreStartError
from server.store_settings import StoreSettings
from server.telemetry.logs import get_logger

_log = get_logger("store")


async def open_store(settings: StoreSettings) -> ResponseStore | None:
    """The store; None where the settings want none. Raises StoreStartError for a database that they name and that
    cannot be used.
    """
    if not settings.enabled:
        return None
    try:
        return await ResponseStore.open(settings)
    except StoreStartError as error:
        if settings.url is not None:
            raise
        # Nobody asked for a place: a read-only container is no reason not to serve.
        _log.warning("responses are stored in memory and lost at the end", why=str(error))
        return await ResponseStore.open(settings.model_copy(update={"url": SecretStr("sqlite://")}))
