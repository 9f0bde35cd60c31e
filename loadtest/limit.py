"""How much load this machine can make: the generator against a server that computes nothing.

Server and generator share the machine, so what is found is a lower bound: who loads another machine has the server's
part of the cores as well.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from loadtest.http_client import ask
from loadtest.measures import tokens_per_second
from loadtest.plan import Setting
from loadtest.run import Server, run
from loadtest.scenario_schema import Scenario
from loadtest.statistics import quantile
from loadtest.strict import Misfit, parsed
from loadtest.validity import validity

_ITL = 0.01
_TTFT = 0.02
# A tenth of the answers took so many times as long as they were to, and some steps of the server's: it did not keep up.
_SLOW, _BEAT = 1.05, 0.01
# A machine that does something else for a moment fails a rate; a rate that fails as often is beyond the limit.
_TRIES = 3


@dataclass(frozen=True)
class Shape:
    """Load of one kind: `tokens` for each answer; rates grow from `first` requests a second, each `factor` times."""

    name: str
    tokens: int
    first: float
    factor: float = 1.3


SHAPES = (
    Shape("requests: answers of 2 tokens", 2, 1000),
    Shape("tokens: answers of 500 tokens", 500, 20),
    Shape("both: answers of 25 tokens", 25, 500),
)


@dataclass(frozen=True)
class Point:
    """A rate that was tried. CPU is in cores: of all sending processes, and of the synthetic server."""

    rate: float
    tokens: float
    limit: str  # empty where the rate was carried, else what was not fast enough
    lag_p99: float
    loop_lag_p99: float
    workers: int
    sender_cpu: float
    server_cpu: float


Said = Callable[[Shape, Point], None]


def limit(shape: Shape, seconds: float, workers: int | None = None, said: Said | None = None) -> Point | None:
    """The highest rate that was carried; None if not even the first was. Raises Misfit where there is no server."""
    best, rate, tries = None, shape.first, 0
    with _synthetic() as server:
        while tries < _TRIES:
            point = _point(server, shape, rate, seconds, workers)
            if said is not None:
                said(shape, point)
            if point.limit:
                tries += 1
                continue
            best, rate, tries = point, rate * shape.factor, 0
    return best


def _point(server: Server, shape: Shape, rate: float, seconds: float, workers: int | None) -> Point:
    tenant = {"name": "limit", "arrivals": {"process": "poisson", "rate": rate}, "prompt": 20, "output": shape.tokens}
    # Counted from when as many answers run as will, until no more begin.
    warmup = min(shape.tokens * _ITL, seconds)
    values = {"name": "limit", "duration": warmup + seconds, "warmup": warmup, "settle": 20, "tenants": [tenant]}
    scenario = parsed(Scenario, values, "limit")
    before = _cpu_seconds(server)
    done = run(server, scenario, Setting("synthetic"), workers=workers)
    served = _cpu_seconds(server) - before
    told = validity(done)
    failed = sum(not each.finished for each in done.records)
    came = sum(each.at >= warmup for each in done.records) / seconds
    # What was used for all requests, at the rate of those in the middle.
    scale = came / len(done.records) if done.records else 0.0
    ended = quantile([each.e2e - each.lag for each in done.records], 0.9)
    if not told["valid"]:
        limited = told["reasons"][0]
    elif failed:
        limited = f"{failed} requests failed"
    elif ended > _SLOW * (_TTFT + _ITL * (shape.tokens - 1)) + _BEAT:
        limited = "the synthetic server was too slow"
    else:
        limited = ""
    return Point(
        rate=came,
        tokens=tokens_per_second(done.records, warmup, warmup + seconds)["output"],
        limit=limited,
        lag_p99=told["lag"].get("p99", 0.0),
        loop_lag_p99=told["loop_lag"].get("p99", 0.0),
        workers=told["workers"],
        sender_cpu=sum(part.cpu_seconds for part in done.parts) * scale,
        server_cpu=served * scale,
    )


@contextmanager
def _synthetic() -> Iterator[Server]:
    command = [sys.executable, "-m", "loadtest", "synthetic", f"--ttft={_TTFT}", "--sigma=0", f"--itl={_ITL}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise Misfit("the synthetic server did not start")
        yield Server(url)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def _cpu_seconds(server: Server) -> float:
    answer = asyncio.run(ask(server.target, "GET", "/metrics", {}))
    lines = [line.split() for line in answer.text.decode().splitlines()]
    return next(float(words[1]) for words in lines if words[:1] == ["process_cpu_seconds_total"])
