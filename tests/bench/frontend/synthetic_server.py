"""The real daemon over a synthetic engine.

python -m tests.bench.frontend.synthetic_server PORT STEP_SECONDS [CORE]

SIGUSR2 switches telemetry off while it runs, as `telemetry.enabled: false` does, and with it what that leaves: frames,
gaps between tokens, and admission's own metrics. SIGUSR1 switches it on again.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import server.app
from server.admission import measures
from server.api.request_trails import RequestTrails
from server.daemon import run
from server.settings import load
from server.telemetry import frontend_metrics, metrics
from server.telemetry.logs import configure_logs
from tests.bench.frontend import synthetic_engine


class Nothing:
    """A metric that counts nothing."""

    def inc(self, amount: float = 1) -> None:
        pass


class Switch:
    """Stands before all that telemetry does for a request, a step or a frame; costs the same whether on or off."""

    def __init__(self) -> None:
        self._on = True
        RequestTrails._trail = self._before(RequestTrails._trail)  # type: ignore[method-assign]
        server.app.count_step = self._before(server.app.count_step)
        frontend_metrics.FRAMES.inc = self._before(frontend_metrics.FRAMES.inc)  # type: ignore[method-assign]
        synthetic_engine.observe_all = self._before(synthetic_engine.observe_all)
        metrics.IN_FLIGHT.set = self._before(metrics.IN_FLIGHT.set)  # type: ignore[method-assign]
        metrics.PROMPTS.labels = self._before(metrics.PROMPTS.labels, Nothing())  # type: ignore[method-assign]
        for name in ("admitted", "ended", "stopped"):
            setattr(measures, name, self._before(getattr(measures, name)))
        signal.signal(signal.SIGUSR1, self._turn)
        signal.signal(signal.SIGUSR2, self._turn)

    def _before(self, call: Any, off: Any = None) -> Any:
        def switched(*arguments: Any, **named: Any) -> Any:
            return call(*arguments, **named) if self._on else off

        return switched

    def _turn(self, number: int, frame: Any) -> None:
        self._on = number == signal.SIGUSR1


def main() -> int:
    port, step_seconds = int(sys.argv[1]), float(sys.argv[2])
    if len(sys.argv) > 3:
        os.sched_setaffinity(0, {int(sys.argv[3])})
    settings = load("reference-cpu", {"server": {"port": port, "admin": False}})
    configure_logs(settings.log.level, settings.log.format)
    Switch()
    return run(settings, synthetic_engine.starter(step_seconds))


if __name__ == "__main__":
    sys.exit(main())
