"""TTFT of an unloaded server beside that of the raw engine."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from tests.bench.frontend.load_client import Load
from tests.bench.frontend.peers import Floor, Peer, Qwend, VllmPython
from tests.bench.frontend.side_by_side import body

REQUESTS, ROUNDS = 200, 3


def first_tokens(profile: str) -> list[dict[str, Any]]:
    """Median TTFT of each in milliseconds, over rounds A B A B of `REQUESTS` one after the other, all three running."""
    with Floor(profile) as floor, Qwend(profile) as qwend, VllmPython(profile) as vllm:
        return first_tokens_of([floor, qwend, vllm])


def first_tokens_of(peers: Sequence[Peer]) -> list[dict[str, Any]]:
    """The same of peers that run already, the floor among them."""
    found: dict[str, list[float]] = {}
    for number in range(ROUNDS + 1):
        for peer in peers:
            result = peer.load(Load(0, 1, REQUESTS, body(2, streamed=True)))
            if number:  # the first warms up
                found.setdefault(peer.name, []).append(result.ttft["p50"] * 1e3)
    base = statistics.median(found[Floor.name])
    return [
        {
            "peer": name,
            "ttft_p50_ms": statistics.median(each),
            "over_the_floor_ms": statistics.median(each) - base,
            "rounds": each,
        }
        for name, each in found.items()
    ]
