"""CPU of the front end for each token, peer beside peer in one run, each over its own engine of the same settings."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.frontend.load_client import Load
from tests.bench.frontend.peers import Peer
from tests.bench.frontend.processes import cpu_seconds, resident_bytes

MODEL = "qwen3.5-reference"
# Long enough that a request's own cost, some 2 ms, is a small part of its tokens'.
TOKENS = 256
# Whatever batch a peer is asked for is met once before it counts.
WARM_TOKENS, WARM_ROUNDS = 16, 4


@dataclass
class Row:
    """One load on one peer; times in seconds."""

    peer: str
    streams: int
    streamed: bool
    round: int
    us_per_token: float
    tokens_per_second: float
    tokens: int
    frames: int
    resident_mib: float
    ttft: dict[str, float]
    itl: dict[str, float]


def body(tokens: int, *, streamed: bool) -> dict[str, Any]:
    """A chat that runs for exactly `tokens` tokens."""
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": tokens, "ignore_eos": True, "temperature": 0.0}
    return asked | ({"stream": True, "stream_options": {"include_usage": True}} if streamed else {})


def rows(kinds: list[Callable[[], Peer]], widths: list[int], rounds: int) -> Iterator[dict[str, Any]]:
    """Every load on every peer, A B A B: each round starts every peer anew and runs all loads on it."""
    for number in range(rounds):
        for kind in kinds:
            with kind() as peer:
                yield from _loads(peer, widths, number)


def rows_together(peers: Sequence[Peer], widths: list[int], rounds: int) -> Iterator[dict[str, Any]]:
    """The same over peers that are all there all the time, each idle while another is loaded."""
    for number in range(rounds):
        for peer in peers:
            yield from _loads(peer, widths, number)


def _loads(peer: Peer, widths: list[int], number: int) -> Iterator[dict[str, Any]]:
    for streams in widths:
        for streamed in (True, False):
            for _ in range(WARM_ROUNDS):
                peer.load(Load(0, streams, streams, body(WARM_TOKENS, streamed=streamed)))
            yield asdict(_row(peer, streams, streamed, number))


def _row(peer: Peer, streams: int, streamed: bool, number: int) -> Row:
    before = cpu_seconds(peer.process)
    load = Load(0, streams, max(4, streams), body(TOKENS, streamed=streamed))
    result = peer.load(load)
    used = cpu_seconds(peer.process) - before
    if result.failures:
        raise RuntimeError(f"{peer.name} refused: {result.failures[0]}")
    return Row(
        peer.name,
        streams,
        streamed,
        number,
        used / result.tokens * 1e6,
        result.tokens / result.wall,
        result.tokens,
        result.frames,
        resident_bytes(peer.process) / 2**20,
        result.ttft,
        result.itl,
    )


def summary(found: list[dict[str, Any]], beside: str) -> list[dict[str, Any]]:
    """Medians over the rounds, their least and most, and the ratio of CPU to that of the peer `beside`."""
    told = []
    keys = sorted({(row["streamed"], row["streams"]) for row in found}, key=lambda key: (not key[0], key[1]))
    peers = list(dict.fromkeys(row["peer"] for row in found))
    for streamed, streams in keys:
        at = [row for row in found if (row["streamed"], row["streams"]) == (streamed, streams)]
        reference = statistics.median([row["us_per_token"] for row in at if row["peer"] == beside])
        for peer in peers:
            mine = [row for row in at if row["peer"] == peer]
            costs = [row["us_per_token"] for row in mine]
            told.append(
                {
                    "peer": peer,
                    "streams": streams,
                    "streamed": streamed,
                    "us_per_token": statistics.median(costs),
                    "least": min(costs),
                    "most": max(costs),
                    "ratio": statistics.median(costs) / reference,
                    "tokens_per_frame": statistics.median([row["tokens"] / max(row["frames"], 1) for row in mine]),
                    "tokens_per_second": statistics.median([row["tokens_per_second"] for row in mine]),
                    "ttft_p50_ms": statistics.median([row["ttft"].get("p50", 0) for row in mine]) * 1e3,
                    "itl_p50_ms": statistics.median([row["itl"].get("p50", 0) for row in mine]) * 1e3,
                    "itl_p99_ms": statistics.median([row["itl"].get("p99", 0) for row in mine]) * 1e3,
                    "resident_mib": statistics.median([row["resident_mib"] for row in mine]),
                }
            )
    return told
