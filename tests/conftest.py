from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.daemon_process import DaemonProcess


@pytest.fixture(scope="session")
def daemon() -> Iterator[DaemonProcess]:
    """The daemon that all tests share which do not end it: a start takes some 40 s."""
    running = DaemonProcess()
    try:
        yield running.wait_ready()
    finally:
        running.stop()


@pytest.fixture
async def client(daemon: DaemonProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=daemon.url, timeout=60) as client:
        yield client
