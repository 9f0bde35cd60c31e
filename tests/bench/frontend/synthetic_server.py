"""The real daemon over a synthetic engine.

python -m tests.bench.frontend.synthetic_server PORT STEP_SECONDS [CORE]
"""

from __future__ import annotations

import os
import sys

from server.daemon import run
from server.settings import load
from server.telemetry.logs import configure_logs
from tests.bench.frontend.synthetic_engine import starter


def main() -> int:
    port, step_seconds = int(sys.argv[1]), float(sys.argv[2])
    if len(sys.argv) > 3:
        os.sched_setaffinity(0, {int(sys.argv[3])})
    settings = load("reference-cpu", {"server": {"port": port, "admin": False}})
    configure_logs(settings.log.level, settings.log.format)
    return run(settings, starter(step_seconds))


if __name__ == "__main__":
    sys.exit(main())
