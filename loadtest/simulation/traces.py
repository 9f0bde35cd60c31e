"""Recorded arrivals, as requests: Azure's LLM inference trace (CSV) and Mooncake's (JSON lines).

Neither says who sent what. Tenants are drawn by Zipf's law, so that a few send most of it, by seed.
"""

from __future__ import annotations

import csv
import itertools
import json
import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

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
    """TIMESTAMP, ContextTokens, GeneratedTokens; the first is at 0."""
    draw, found = zipf_tenants(seed), []
    with path.open(encoding="utf-8", newline="") as lines:
        start = None
        for row in itertools.islice(csv.DictReader(lines), most):
            # Seven digits of a second are one more than Python reads.
            at = datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp()
            start = at if start is None else start
            prompt, output = int(row["ContextTokens"]), int(row["GeneratedTokens"])
            found.append(Request(at - start, draw(), max(prompt, 1), max(output, 1)))
    return found


def mooncake(path: Path, *, seed: int = 0, most: int | None = None) -> list[Request]:
    """timestamp in ms, input_length, output_length, hash_ids of its blocks of 512 tokens."""
    found = []
    tenants: dict[int, str] = {}
    draw = zipf_tenants(seed)
    with path.open(encoding="utf-8") as lines:
        for line in itertools.islice(lines, most):
            row = json.loads(line)
            ids = tuple(row["hash_ids"])
            # A conversation goes on with its second block (the first one is the same for nearly all of them).
            owner = tenants.setdefault(ids[min(1, len(ids) - 1)], draw())
            prompt, output = row["input_length"], row["output_length"]
            whole = ids[: prompt // 512]
            found.append(Request(row["timestamp"] / 1000, owner, max(prompt, 1), max(output, 1), prefix=whole))
    return found


def faster(requests: list[Request], factor: float) -> list[Request]:
    """The same requests, `factor` times as many a second."""
    return [_moved(each, each.at / factor) for each in requests]


def _moved(request: Request, at: float) -> Request:
    values = {name: getattr(request, name) for name in Request.__dataclass_fields__}
    return Request(**{**values, "at": at})
