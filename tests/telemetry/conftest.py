from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.telemetry.observed import Observed


@pytest.fixture(scope="session")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """The daemon that all tests of telemetry share."""
    running = Observed(tmp_path_factory.mktemp("observed"))
    try:
        running.daemon.wait_ready()
        yield running
    finally:
        running.stop()
