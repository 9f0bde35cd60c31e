"""Recorded arrivals, as requests of the simulator (the formats are read by `loadtest.traces`).

Neither trace says who sent what. Tenants are drawn by Zipf's law, so that a few send most of it, by seed.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

from loadtest import traces
from loadtest.simulation.workload import Request

TENANTS = 50
_EXPONENT = 1.1


def zipf_tenants(seed: int, tenants: int = TENANTS) -> Callable[[], str]:
    """Draws names of tenants of which the n-th sends 1 / n ** 1.1 as much as the first."""
    rng = random.Random(f"{seed}/zipf")
    totals = list(itertools.accumulate((n + 1) ** -_EXPONENT for n in range(tenants)))
    names = [f"tenant-{n:02}" for n in range(tenants)]
    return lambda: rng.choices(names, cum_weights=totals)[0]


def azure(path: Path, *, seed: int = 0, most: int | None = None) -> list[Request]:
    """Azure's, as requests of drawn tenants."""
    draw = zipf_tenants(seed)
    return [Request(row.at, draw(), row.prompt, row.output) for row in traces.azure(path, most)]


def mooncake(path: Path, *, seed: int = 0, most: int | None = None) -> list[Request]:
    """Mooncake's, a tenant for each conversation."""
    found = []
    tenants: dict[int, str] = {}
    draw = zipf_tenants(seed)
    for row in traces.mooncake(path, most):
        # A conversation goes on with its second block (the first one is the same for nearly all of them).
        owner = tenants.setdefault(row.blocks[min(1, len(row.blocks) - 1)], draw())
        whole = tuple(row.blocks[: row.prompt // traces.MOONCAKE_BLOCK])
        found.append(Request(row.at, owner, row.prompt, row.output, prefix=whole))
    return found


def faster(requests: list[Request], factor: float) -> list[Request]:
    """The same requests, `factor` times as many a second."""
    return [_moved(each, each.at / factor) for each in requests]


def _moved(request: Request, at: float) -> Request:
    values = {name: getattr(request, name) for name in Request.__dataclass_fields__}
    return Request(**{**values, "at": at})
