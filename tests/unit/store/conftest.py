from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.store.response_store import ResponseStore
from server.store_settings import StoreSettings
from tests.unit.store.records_made import Clock


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "responses.sqlite"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(file: Path, clock: Clock) -> Callable[..., Any]:
    """Opens a store on `file`, closed at the block's end."""

    @asynccontextmanager
    async def open_store(**settings: Any) -> AsyncIterator[ResponseStore]:
        settings = {"url": f"sqlite:///{file}", "busy_seconds": 1.0, **settings}
        store = await ResponseStore.open(StoreSettings(**settings), clock)
        try:
            yield store
        finally:
            await store.close()

    return open_store
