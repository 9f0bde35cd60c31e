from __future__ import annotations

import pytest

from tests.chaos.table import Table


@pytest.fixture(scope="session")
def table() -> Table:
    return Table()
