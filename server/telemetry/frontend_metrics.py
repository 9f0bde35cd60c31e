"""Metrics of the front end itself: how late its event loop is, what it writes, and what the daemon is doing.

Its CPU time is `process_cpu_seconds_total`, since the engine computes in processes of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from prometheus_client import Counter, Gauge, Histogram

LOOP_LAG = Histogram(
    "qwend_event_loop_lag_seconds",
    "Seconds that a timer of the event loop was late, four times a second.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
FRAMES = Counter("qwend_stream_frames", "Frames of streamed answers that were written.")
STATE = Gauge("qwend_state", "1 for what the daemon is doing, in the word of its readiness.", ["state"])

_INTERVAL_SECONDS = 0.25


async def watch_loop(tick: Callable[[], None]) -> None:
    """Measures the loop's lag until it is cancelled, and calls `tick` each time."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _INTERVAL_SECONDS
        await asyncio.sleep(_INTERVAL_SECONDS)
        LOOP_LAG.observe(max(0.0, loop.time() - due))
        tick()


def show_state(states: Iterable[str], current: Callable[[], str]) -> None:
    """Lets the gauge read the daemon's state when it is asked for."""
    for state in states:
        STATE.labels(state).set_function(partial(lambda state: float(current() == state), state))
