"""One sending process: makes its part of the plan, waits for the common start, sends, and hands its records back."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import time
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any

from loadtest.http_client import Target
from loadtest.plan import Setting, plan
from loadtest.record import Record
from loadtest.scenario_schema import Scenario
from loadtest.sender import Counters, Sender


@dataclass(frozen=True)
class Job:
    """What a process is to do. `base_url` and the setting's keys stay inside it."""

    base_url: str
    scenario: Scenario
    setting: Setting
    worker: int
    workers: int


@dataclass
class Part:
    """What a process has to say in the end. `pulses` is how late its event loop was, every 10 ms, in seconds."""

    records: list[Record] = field(default_factory=list)
    pulses: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    planned: int = 0
    connections: int = 0


@dataclass
class Ready:
    """The process has its plan: so many requests."""

    planned: int


@dataclass
class Failed:
    """The process cannot go on."""

    reason: str


def main(job: Job, pipe: Connection) -> None:
    """Runs a job. Says Ready, waits for the start (`time.monotonic`), says Counters twice a second, then Part."""
    try:
        _run(job, pipe)
    except BrokenPipeError:
        # Whoever wanted to know has gone.
        return
    except (ValueError, OSError) as error:
        pipe.send(Failed(str(error) if isinstance(error, ValueError) else type(error).__name__))


def _run(job: Job, pipe: Connection) -> None:
    _open_files()
    _first_in_line()
    counters = Counters()
    sender = Sender(Target.of(job.base_url), counters)
    shots = sender.prepare(plan(job.scenario, job.setting, worker=job.worker, workers=job.workers))
    pipe.send(Ready(len(shots)))
    start = pipe.recv()
    # The plan is no garbage: a collector that looks through it stops the sending for as long.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)

    def tick() -> None:
        pipe.send(replace(counters))
        counters.ttfts, counters.lags = [], []

    began = time.process_time()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(sender.run(shots, start, job.scenario.settle, tick))
    last = max((each.at + each.e2e for each in sender.records), default=0.0)
    pipe.send(Part(sender.records, sender.pulses, time.process_time() - began, last, len(shots), counters.opened))


def _open_files() -> None:
    """Thousands of connections need as many files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1_048_576) if hard > 0 else 1_048_576, hard))


def _first_in_line() -> None:
    """A server on the same machine takes all its cores; what sends must come in between, where that is allowed."""
    with contextlib.suppress(OSError):
        os.nice(-10)


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
