"""The real daemon over a synthetic engine.

python -m tests.bench.frontend.synthetic_server PORT STEP_SECONDS [CORE]

With QWEND_BENCH_METRICS=off what `telemetry.enabled: false` leaves is gone as well: frames and gaps between tokens.
"""

from __future__ import annotations

import os
import sys

from server.daemon import run
from server.settings import load
from server.telemetry import frontend_metrics
from server.telemetry.logs import configure_logs
from tests.bench.frontend import synthetic_engine


def main() -> int:
    port, step_seconds = int(sys.argv[1]), float(sys.argv[2])
    if len(sys.argv) > 3:
        os.sched_setaffinity(0, {int(sys.argv[3])})
    if os.environ.pop("QWEND_BENCH_METRICS", "") == "off":
        frontend_metrics.FRAMES.inc = lambda amount=1: None  # type: ignore[method-assign]
        synthetic_engine.observe_all = lambda histogram, values: None
    settings = load("reference-cpu", {"server": {"port": port, "admin": False}})
    configure_logs(settings.log.level, settings.log.format)
    return run(settings, synthetic_engine.starter(step_seconds))


if __name__ == "__main__":
    sys.exit(main())
