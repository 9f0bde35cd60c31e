"""CPU of telemetry's parts, called by themselves, in us for each token: a request's metrics, its log line, a step.

python -m tests.bench.frontend.telemetry_parts STREAMS TOKENS
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from server.admission import measures
from server.admission.classes import PriorityClass
from server.engine.token_metrics import observe_all
from server.telemetry import trail as trails
from server.telemetry.cost import charge
from server.telemetry.engine_metrics import ITL, count_step
from server.telemetry.frontend_metrics import FRAMES
from server.telemetry.logs import configure_logs
from server.telemetry.metrics import IN_FLIGHT, PROMPTS
from server.telemetry.record import TokenCounts
from server.telemetry.request_log import Redaction, request_logger
from server.telemetry.requests import Requests

CALLS, REPEATS = 5000, 5
TICKET: Any = SimpleNamespace(ask=SimpleNamespace(priority=PriorityClass.STANDARD), arrived=0.0)


def best_us(call: Callable[[], None]) -> float:
    """CPU of one call, of the quickest of some thousands in a row."""
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        for _ in range(CALLS):
            call()
        times.append((time.process_time() - began) / CALLS)
    return min(times) * 1e6


def one_request(requests: Requests, tokens: int) -> None:
    """All that a streamed chat tells its trail, and what comes of it."""
    trail = requests.arrived("chat", "req_0123456789abcdef0123456789abcdef")
    trails.follow(trail)
    trail.begin("receive")
    trail.tenant, trail.model, trail.priority, trail.status, trail.streamed = "a", "m", "standard", 200, True
    trail.end("receive")
    for stage in ("render", "queue"):
        with trails.stage(stage):  # type: ignore[arg-type]
            pass
    trail.begin("prefill")
    trail.token_came()
    trail.generation_ended()
    trail.tokens = TokenCounts(10, 0, tokens, tokens // 2, 0)
    trail.outcome = "length"
    requests.ended(trail)
    measures.admitted(TICKET, 0.1)
    measures.ended(TICKET, "length")
    PROMPTS.labels("length").inc()
    IN_FLIGHT.set(1)
    IN_FLIGHT.set(0)


def main() -> None:
    streams, tokens = int(sys.argv[1]), int(sys.argv[2])
    # The line is written as it is in a container, to nobody.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    configure_logs("info", "json")
    known: dict[str, list[str]] = {"models": ["m"], "efforts": ["low"]}
    silent = Requests(tenants=8, views=[], charge=charge, **known)  # type: ignore[arg-type]
    logged = Requests(tenants=8, views=[request_logger(Redaction())], charge=charge, **known)  # type: ignore[arg-type]
    request = best_us(lambda: one_request(silent, tokens))
    line = best_us(lambda: one_request(logged, tokens)) - request
    gaps = [0.02] * streams

    def step() -> None:
        count_step(0.02, 10, streams, 0.1, 0)
        observe_all(ITL, gaps)
        FRAMES.inc(streams)

    print(request / tokens, line / tokens, best_us(step) / streams)


if __name__ == "__main__":
    main()
