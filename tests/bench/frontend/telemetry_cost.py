"""What metrics cost the front end: two daemons over synthetic engines, telemetry on and off, loaded in turn.

CPU is that of the daemon's process, by the kernel's clock for it, over the tokens of the answers. Both run all the
while; each round loads one, then the other, in an order that changes, and has one ratio; the figure is their median.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx

from tests.bench.frontend.load_client import Load
from tests.bench.frontend.processes import drive
from tests.bench.frontend.side_by_side import TOKENS, body
from tests.bench.frontend.synthetic import serving

ROUNDS = 40
# Streams to the seconds of a step and the requests of a load: 6,400 and 12,800 tokens a second, a quarter and less
# than a half of a core, for four and five seconds.
LOADS = {32: (0.005, 96), 256: (0.02, 256)}
WARM_ROUNDS = 6
CLIENT_CORE = (os.cpu_count() or 1) - 1
SCRAPES = 50
SCRAPE_SECONDS = 15.0
OFF = {"QWEND_TELEMETRY__ENABLED": "false", "QWEND_BENCH_METRICS": "off"}


def process_seconds(process: int) -> float:
    """CPU of a process, all its threads, to the nanosecond: the clock that clock_getcpuclockid(3) names."""
    return time.clock_gettime((~process << 3) | 2)


def telemetry_costs(widths: list[int], rounds: int = ROUNDS) -> Iterator[dict[str, Any]]:
    """One row for each number of streams; `percent` is how much more a token costs with telemetry."""
    order = random.Random(0)
    for streams in widths:
        step_seconds, requests = LOADS[streams]
        with ExitStack() as stack:
            on = stack.enter_context(serving(step_seconds))
            off = stack.enter_context(serving(step_seconds, environment=OFF))
            for port, _ in (on, off):
                for _ in range(WARM_ROUNDS):
                    drive(Load(port, streams, 2 * streams, body(64, streamed=True)), CLIENT_CORE)
            pairs = []
            for _ in range(rounds):
                pair = {}
                for name in order.sample(["on", "off"], 2):
                    pair[name] = _us_per_token(*(on if name == "on" else off), streams, requests)
                pairs.append(pair)
            percents = sorted(100 * (pair["on"] / pair["off"] - 1) for pair in pairs)
            yield {
                "streams": streams,
                "rounds": rounds,
                "on_us": statistics.median(pair["on"] for pair in pairs),
                "off_us": statistics.median(pair["off"] for pair in pairs),
                "percent": statistics.median(percents),
                **dict(zip(("low", "high"), _interval(percents), strict=True)),
                "least": percents[0],
                "most": percents[-1],
                "scrape_ms": 1e3 * (scrape := _scrape_seconds(*on)),
                "scrape_percent_of_core": 100 * scrape / SCRAPE_SECONDS,
            }


def _us_per_token(port: int, process: int, streams: int, requests: int) -> float:
    before = process_seconds(process)
    result = drive(Load(port, streams, requests, body(TOKENS, streamed=True)), CLIENT_CORE)
    used = process_seconds(process) - before
    if result.failures:
        raise RuntimeError(f"refused: {result.failures[0]}")
    return used / result.tokens * 1e6


def _interval(ordered: list[float]) -> tuple[float, float]:
    """A 95 % interval of the median, by resampling."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(ordered, k=len(ordered))) for _ in range(2000))
    return medians[50], medians[1949]


def _scrape_seconds(port: int, process: int) -> float:
    """CPU of one answer of /metrics."""
    before = process_seconds(process)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(SCRAPES):
            client.get("/metrics").raise_for_status()
    return (process_seconds(process) - before) / SCRAPES
