"""A run of a scenario: its processes from start to end, and everything that they brought back."""

from __future__ import annotations

import math
import multiprocessing
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import connection as pipes
from typing import Any

from loadtest import calibration, worker
from loadtest.http_client import Target
from loadtest.plan import Setting, moments
from loadtest.prompts import Pace
from loadtest.record import Record
from loadtest.scenario_schema import Scenario
from loadtest.sender import Counters
from loadtest.strict import Misfit
from loadtest.watcher import Seen, Watcher
from loadtest.worker import Failed, Job, Part, Ready

# What one process is given at most: what it was seen to carry (`qwend-loadtest limit`, docs/loadtest.md). No
# more processes than needed, since each disturbs the others and the server where they share cores.
_REQUESTS_OF_ONE = 5000.0
_TOKENS_OF_ONE = 60_000.0
Shown = Callable[[float, list[Counters]], None]


@dataclass(frozen=True)
class Server:
    """The server under load, as the command line gives it."""

    base_url: str
    admin_url: str | None = None
    metrics_url: str | None = None
    keys: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def target(self) -> Target:
        """Where it listens."""
        return Target.of(self.base_url)

    @property
    def headers(self) -> dict[str, str]:
        """For requests that are not load: with any one of the keys."""
        return {"authorization": f"Bearer {key}"} if (key := next(iter(self.keys.values()), None)) else {}

    @property
    def metrics(self) -> str:
        """Where its metrics are: by default beside /v1."""
        return self.metrics_url or self.target.shown.removesuffix("/v1") + "/metrics"


@dataclass
class Run:
    """What a run brought: records in the order of their numbers, and what the sending cost."""

    scenario: Scenario
    setting: Setting
    records: list[Record]
    parts: list[Part]
    seen: Seen
    started: float  # seconds since 1970
    start: float  # the same moment by `time.monotonic`
    seconds: float


async def setting(server: Server, scenario: Scenario, capacity: float | None, *, calibrate: bool = True) -> Setting:
    """What the plan needs to know, asked of the server. Raises Misfit."""
    model = scenario.model or await calibration.first_model(server.target, server.headers)
    counted = await calibration.pace(server.target, model, server.headers) if calibrate else Pace()
    return Setting(model, counted, capacity, secrets.token_hex(4), keys=server.keys)


def workers_for(scenario: Scenario, capacity: float | None) -> int:
    """As many processes as the rates of requests and of tokens need, at most one for each core."""
    needed = 0.0
    for tenant in scenario.tenants:
        for _, row in moments(tenant, scenario.seed, scenario.duration, capacity):
            tokens = tenant.output.typical if row is None else row.output
            needed += 1 / _REQUESTS_OF_ONE + tokens / _TOKENS_OF_ONE
    return max(1, min(os.cpu_count() or 1, math.ceil(needed / scenario.duration)))


def run(
    server: Server, scenario: Scenario, known: Setting, *, workers: int | None = None, shown: Shown | None = None
) -> Run:
    """Runs a scenario once. `shown` is told twice a second how far it is.

    Raises Misfit where a process cannot plan or send.
    """
    count = workers or workers_for(scenario, known.capacity)
    context = multiprocessing.get_context("spawn")
    ours, processes = [], []
    try:
        for number in range(count):
            mine, its = context.Pipe()
            job = Job(server.base_url, scenario, known, number, count)
            process = context.Process(target=worker.main, args=(job, its), daemon=True)
            process.start()
            its.close()
            ours.append(mine)
            processes.append(process)
        for pipe in ours:
            _expect(Ready, _received(pipe))
        watcher = Watcher(server.metrics, scenario.events, server.admin_url, server.headers)
        start = time.monotonic() + 0.3
        started = time.time() + 0.3
        for pipe in ours:
            pipe.send(start)
        watcher.begin(start)
        try:
            parts = _parts(ours, start, shown)
        finally:
            seen = watcher.end()
    finally:
        for process in processes:
            process.join(2)
            if process.is_alive():
                process.kill()
                process.join(2)
    records = sorted((each for part in parts for each in part.records), key=lambda each: (each.number, each.turn))
    seconds = max((part.seconds for part in parts), default=0.0)
    return Run(scenario, known, records, parts, seen, started, start, seconds)


def _received(pipe: Any) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        raise Misfit("a sending process ended by itself") from None


def _expect(kind: type[Any], message: Any) -> Any:
    if isinstance(message, Failed):
        raise Misfit(message.reason)
    assert isinstance(message, kind), message
    return message


def _parts(ours: list[Any], start: float, shown: Shown | None) -> list[Part]:
    counters: dict[int, Counters] = {}
    parts: dict[int, Part] = {}
    while len(parts) < len(ours):
        open_pipes = [pipe for place, pipe in enumerate(ours) if place not in parts]
        for ready in pipes.wait(open_pipes, timeout=0.5):
            place = next(n for n, pipe in enumerate(ours) if pipe is ready)
            message = _received(ready)
            if isinstance(message, Counters):
                counters[place] = message
            else:
                parts[place] = _expect(Part, message)
        if shown is not None and counters:
            shown(time.monotonic() - start, list(counters.values()))
    return [parts[place] for place in range(len(ours))]
