"""A daemon of the kind of `tests.brittle.server` in a process of its own."""

from __future__ import annotations

import os
import signal

from tests.daemon_process import DaemonProcess


class BrittleProcess(DaemonProcess):
    """`BRITTLE_START` is passed as `start`; further `settings` are environment variables of qwend."""

    def __init__(self, *arguments: str, start: str = "", settings: dict[str, str] | None = None) -> None:
        environment = {"BRITTLE_START": start, **(settings or {})}
        super().__init__(*arguments, environment=environment, module="tests.brittle.server")

    def stop_or_go_on(self, process: int | None = None) -> None:
        """Its engine; `process` is the daemon's where a supervisor was started."""
        os.kill(process or self.process.pid, signal.SIGUSR1)

    def die(self, process: int | None = None) -> None:
        """The same."""
        os.kill(process or self.process.pid, signal.SIGUSR2)
