"""The real daemon over an engine that computes nothing and fails when it is told to: it starts in two seconds.

python -m tests.brittle.server serve --port N --admin-port N [--supervise]

SIGUSR1 makes the engine stop, and go on at the next one; SIGUSR2 makes it die. `BRITTLE_START` is `fail`, `fail-again`
(only where it has been started anew) or `hang`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from server.daemon import run
from server.engine.coalescing import Coalescer
from server.engine.startup_phases import StartupPhases
from server.generation.errors import EngineDied
from server.settings import Settings, load
from server.supervised import RESTARTS, is_supervised
from server.supervisor import run as supervise
from server.telemetry.logs import configure_logs
from tests.bench.frontend.synthetic_engine import SyntheticEngine

STEP_SECONDS = 0.02


class BrittleEngine(SyntheticEngine):
    """See the module."""

    def __init__(self, coalescer: Coalescer) -> None:
        super().__init__(STEP_SECONDS, coalescer)
        self._kept: dict[str, Any] = {}
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self._stop_or_go_on)
        loop.add_signal_handler(signal.SIGUSR2, self._die)

    @property
    def unfinished(self) -> int:
        return len(self._running) + len(self._kept)

    async def abort(self, request_id: str, internal: bool) -> None:
        self._kept.pop(request_id, None)
        await super().abort(request_id, internal)

    async def submit(self, *arguments: Any, **named: Any) -> Any:
        stream = await super().submit(*arguments, **named)
        if self._stopped:
            self._kept |= self._running
            self._running.clear()
        return stream

    _stopped = False

    def _stop_or_go_on(self) -> None:
        self._stopped = not self._stopped
        self._kept, self._running = self._running, self._kept

    def _die(self) -> None:
        for queue in [*self._running.values(), *self._kept.values()]:
            queue.put(EngineDied("The engine has died; this request cannot be finished."))
        self._running.clear()
        self._kept.clear()
        self.dead = True
        self.cause = "it was told to"


async def start(settings: Settings, phases: StartupPhases) -> BrittleEngine:
    told = os.environ.get("BRITTLE_START", "")
    if told == "fail" or (told == "fail-again" and RESTARTED):
        raise RuntimeError("it was told not to start")
    if told == "hang":
        await asyncio.sleep(3600)
    return BrittleEngine(Coalescer(settings.streaming.hold_seconds, settings.streaming.behind))


RESTARTED = os.environ.get(RESTARTS, "0") != "0"


def main() -> int:
    arguments = sys.argv[1:]
    port, admin_port = (int(arguments[arguments.index(name) + 1]) for name in ("--port", "--admin-port"))
    server = {"port": port, "admin_port": admin_port}
    settings = load("reference-cpu", {"server": server, "supervise": {"on": "--supervise" in arguments}})
    configure_logs(settings.log.level, settings.log.format)
    if settings.supervise.on and not is_supervised():
        return supervise(settings, [sys.executable, "-m", "tests.brittle.server", *arguments])
    return run(settings, start)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)
