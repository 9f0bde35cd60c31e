from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from hypothesis import HealthCheck, settings

from tests.daemon_process import DaemonProcess

# The same examples every time, however long a busy machine takes to draw them.
settings.register_profile("repeatable", derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")


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
