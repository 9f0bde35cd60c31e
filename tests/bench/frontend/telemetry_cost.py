"""What telemetry costs the front end: one daemon over a synthetic engine, telemetry switched off and on under load.

CPU is that of the daemon's process, by the kernel's clock for it, over the tokens of the answers. Each round loads it
on and off, in an order that changes, and has one ratio; the figure is their median. Other work on the machine can only
add, so that the quietest quarter of the loads of either kind are compared as well. It is one process since two, alike
in everything, differ by more than is looked for. The parts are measured by themselves too: those figures are steady
where the machine is not.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import uvloop

from tests.bench.frontend.load_client import Load, Result, Run
from tests.bench.frontend.side_by_side import TOKENS, body
from tests.bench.frontend.synthetic import serving

ROUNDS = 40
# Streams to the seconds of a step and the requests of a load, which takes some two and eight seconds.
LOADS = {32: (0.006, 32), 256: (0.03, 256)}
WARM_ROUNDS = 4
CLIENT_CORE = (os.cpu_count() or 1) - 1
SCRAPES = 50
SCRAPE_SECONDS = 15.0
# A frame for each token: how many are put together depends on the machine's other work and decides what one costs.
EVERY_TOKEN = {"QWEND_STREAMING__HOLD_SECONDS": "0"}
SWITCH = {"on": signal.SIGUSR1, "off": signal.SIGUSR2}


def process_seconds(process: int) -> float:
    """CPU of a process, all its threads, to the nanosecond: the clock that clock_getcpuclockid(3) names."""
    return time.clock_gettime((~process << 3) | 2)


def telemetry_costs(widths: list[int], rounds: int = ROUNDS) -> Iterator[dict[str, Any]]:
    """One row for each number of streams. `percent` is how much more a token costs with telemetry, from `low` to `high`
    by 95 %; `parts_percent` is the same by its parts.
    """
    order = random.Random(0)
    os.sched_setaffinity(0, {CLIENT_CORE})
    for streams in widths:
        step_seconds, requests = LOADS[streams]
        with serving(step_seconds, environment=EVERY_TOKEN) as (port, process):
            for _ in range(WARM_ROUNDS):
                _driven(Load(port, streams, 2 * streams, body(64, streamed=True)))
            pairs = []
            for _ in range(rounds):
                pair = {}
                for name in order.sample(list(SWITCH), 2):
                    os.kill(process, SWITCH[name])
                    pair[name] = _us_per_token(port, process, streams, requests)
                pairs.append(pair)
            scrape = _scrape_seconds(port, process)
        percents = sorted(100 * (pair["on"] / pair["off"] - 1) for pair in pairs)
        low, high = _interval(percents)
        off = statistics.median(pair["off"] for pair in pairs)
        parts = _parts_us(streams)
        yield {
            "streams": streams,
            "rounds": rounds,
            "on_us": statistics.median(pair["on"] for pair in pairs),
            "off_us": off,
            "percent": statistics.median(percents),
            "quiet_percent": 100 * (_quiet(pairs, "on") / _quiet(pairs, "off") - 1),
            "low": low,
            "high": high,
            "least": percents[0],
            "most": percents[-1],
            **parts,
            "parts_percent": 100 * sum(parts.values()) / off,
            "scrape_ms": 1e3 * scrape,
            "scrape_percent_of_core": 100 * scrape / SCRAPE_SECONDS,
        }


def _us_per_token(port: int, process: int, streams: int, requests: int) -> float:
    before = process_seconds(process)
    result = _driven(Load(port, streams, requests, body(TOKENS, streamed=True)))
    used = process_seconds(process) - before
    if result.failures:
        raise RuntimeError(f"refused: {result.failures[0]}")
    return used / result.tokens * 1e6


def _driven(load: Load) -> Result:
    """The load, from this process: starting one for each would take longer than the load."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Run(load).run())


def _quiet(pairs: list[dict[str, float]], name: str) -> float:
    """The mean of the least quarter of them."""
    return statistics.mean(sorted(pair[name] for pair in pairs)[: max(1, len(pairs) // 4)])


def _interval(ordered: list[float]) -> tuple[float, float]:
    """A 95 % interval of the median, by resampling."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(ordered, k=len(ordered))) for _ in range(2000))
    return medians[50], medians[1949]


def _parts_us(streams: int) -> dict[str, float]:
    """Microseconds a token of a request's metrics, its log line, and a step's metrics, each called by itself."""
    command = [sys.executable, "-m", "tests.bench.frontend.telemetry_parts", str(streams), str(TOKENS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    request, line, step = map(float, done.stdout.split())
    return {"request_us": request, "log_line_us": line, "step_us": step}


def _scrape_seconds(port: int, process: int) -> float:
    """CPU of one answer of /metrics."""
    before = process_seconds(process)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(SCRAPES):
            client.get("/metrics").raise_for_status()
    return (process_seconds(process) - before) / SCRAPES
