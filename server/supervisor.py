"""`qwend serve --supervise`: keeps the ports, and starts the daemon anew when it dies.

The supervisor is a process of its own that holds the listening sockets and loads no engine; the daemon is its child,
which inherits them. It was chosen over a daemon that outlives its engine, since then only the engine's death could be
survived, and what a dead engine leaves behind in its front end (threads, sockets, counters of a library that expects to
be started once) would be there for the next one. Here any death is survived, and each start is a first one. While no
child takes connections, the supervisor takes them itself and answers with the same app, whose gate is shut.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence

from starlette.types import ASGIApp

from server.admission.gate import State
from server.admission.tenant_file import TenantFileError
from server.api.admin import Controls, build_admin_app
from server.api.certificates import CertificateError
from server.api.direct_send import DirectSend
from server.app import build_app, build_service
from server.engine.startup_phases import StartupPhases
from server.front_settings import admin_needs_key
from server.http_server import HttpServer, certificates_of, http_server
from server.listening import LISTENERS, CannotListen, allow_open_files, listeners
from server.settings import Settings
from server.supervised import LISTENING, READY, RESTARTS, SUPERVISOR
from server.telemetry.logs import get_logger

_log = get_logger("supervisor")

EXIT_OK, EXIT_LISTEN, EXIT_USAGE = 0, 2, 2


class Backoff:
    """How long to wait before the next start, and when to give up; pure policy over seconds."""

    def __init__(self, first: float, longest: float, quick_seconds: float, quick_deaths: int) -> None:
        self._first, self._longest = first, longest
        self._quick_seconds, self._quick_deaths = quick_seconds, quick_deaths
        self.quick = 0

    def died(self, served_seconds: float | None) -> float | None:
        """Seconds until the next start after a death; None to give up. `served_seconds` is how long the daemon had
        been ready, None where it never was."""
        late = served_seconds is not None and served_seconds >= self._quick_seconds
        self.quick = 1 if late else self.quick + 1
        if self.quick >= self._quick_deaths and not late:
            return None
        return min(self._longest, self._first * 2.0 ** (self.quick - 1))


class Supervisor:
    """Runs once; `run` returns the process's exit code. `command` starts the daemon."""

    def __init__(self, settings: Settings, command: Sequence[str]) -> None:
        self._settings = settings
        self._command = command
        supervise = settings.supervise
        self._backoff = Backoff(
            supervise.backoff_seconds,
            supervise.longest_backoff_seconds,
            supervise.quick_seconds,
            supervise.quick_deaths,
        )
        self._sockets: list[socket.socket] = []
        self._child: asyncio.subprocess.Process | None = None
        self._ready_at: float | None = None
        self._was_ready = False
        self._restarts = 0
        self._stopping = asyncio.Event()
        self._stand_in: StandIn | None = None

    async def run(self) -> int:
        """Supervises until a signal, a daemon that ends by itself, or too many quick deaths."""
        try:
            self._sockets = listeners(self._settings.server)
        except CannotListen as error:
            _log.error("cannot listen", which=error.which, host=error.host, port=error.port, why=error.why)
            return EXIT_LISTEN
        allow_open_files()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._pass_on, signal.SIGHUP)
        self._stand_in = StandIn(self._settings, self._sockets, lambda: self._on_signal(signal.SIGTERM))
        while True:
            code = await self._one_life()
            if self._stopping.is_set() or code == EXIT_OK:
                _log.info("supervisor stopped", exit_code=code)
                return code
            served = None if self._ready_at is None else time.monotonic() - self._ready_at
            why = f"the daemon ended with exit code {code}"
            if not self._was_ready:
                # What has never served is no accident: it would only fail again, and nobody would look.
                _log.error("supervisor stopped", exit_code=code, why=f"{why}, and it had never been ready")
                return code
            pause = self._backoff.died(served)
            if pause is None:
                quick = self._backoff.quick
                _log.error(
                    "supervisor stopped", exit_code=code, why=f"{why}, the last of {quick} quick deaths in a row"
                )
                return code
            self._restarts += 1
            _log.error("the daemon died", exit_code=code, restarts=self._restarts, pause_seconds=pause)
            await self._stand_in.open(f"{why}; it is started anew (number {self._restarts})", self._restarts)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            if self._stopping.is_set():
                await self._stand_in.close()
                _log.info("supervisor stopped", exit_code=EXIT_OK)
                return EXIT_OK

    async def _one_life(self) -> int:
        """Starts the daemon; returns how it ended, 128 + n for signal n."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._ready_at = None
        numbers = [each.fileno() for each in self._sockets]
        environment = {
            **os.environ,
            LISTENERS: ",".join(map(str, numbers)),
            SUPERVISOR: str(theirs.fileno()),
            RESTARTS: str(self._restarts),
        }
        with ours, theirs:
            self._child = await asyncio.create_subprocess_exec(
                *self._command,
                env=environment,
                pass_fds=[*numbers, theirs.fileno()],
                # Ctrl-C reaches a terminal's whole process group, and two signals end the daemon at once.
                process_group=0,
            )
            theirs.close()
            hearing = asyncio.create_task(self._hear(ours))
            code = await self._child.wait()
            self._child = None
            hearing.cancel()
            if self._stopping.is_set() and self._stand_in is not None:
                await self._stand_in.close()
        return code if code >= 0 else 128 - code

    async def _hear(self, line: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        assert self._stand_in is not None
        while told := await loop.sock_recv(line, 64):
            if LISTENING in told:
                await self._stand_in.close()
            if READY in told:
                self._ready_at = time.monotonic()
                self._was_ready = True

    def _on_signal(self, number: signal.Signals) -> None:
        self._stopping.set()
        self._pass_on(number)

    def _pass_on(self, number: signal.Signals) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)


class StandIn:
    """Answers in the daemon's place while it is away: probes say why, everything else is 503 with `Retry-After`.

    `drain` is what `POST /admin/drain` does. Raises TenantFileError when the tenants file is bad and CertificateError
    when the certificate is.
    """

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket], drain: Callable[[], None]) -> None:
        self._settings, self._sockets, self._drain = settings, sockets, drain
        self._serving: list[tuple[HttpServer, asyncio.Task[None]]] = []
        self._certificates = certificates_of(settings.server)
        self._service = build_service(settings, StartupPhases(lambda phase, seconds: None))
        self._service.gate.restarting()

    async def open(self, why: str, restarts: int) -> None:
        """Takes connections, if it does not already; probes say `why`."""
        at = self._service
        at.vitals.cause, at.vitals.restarts = why, restarts
        if self._serving:
            return
        with_key = admin_needs_key(self._settings.server)
        controls = Controls(
            tenants=at.tenants,
            quotas=at.quotas,
            desk=at.desk,
            drain=self._drain,
            state=lambda: State.RESTARTING,
            in_flight=lambda: 0,
            need_key=with_key,
        )
        # The files may have been renewed since the last death.
        with contextlib.suppress(TenantFileError):  # told in the log, and the old ones stay
            await at.tenants.reload()
        if self._certificates is not None:
            await self._certificates.reload()
        apps: list[tuple[ASGIApp, bool]] = [(DirectSend(build_app(at)), True), (build_admin_app(controls), with_key)]
        for (app, secure), listener in zip(apps, self._sockets, strict=False):
            server = http_server(app, self._settings, self._certificates if secure else None)
            # A socket of its own on the same queue of connections: the server closes it at its end.
            self._serving.append((server, asyncio.create_task(server.serve(sockets=[listener.dup()]))))
        while not all(server.started for server, _ in self._serving):
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Leaves the connections that come to the daemon, after having answered those that are here."""
        serving, self._serving = self._serving, []
        for server, _ in serving:
            server.should_exit = True
        await asyncio.gather(*(task for _, task in serving))


def run(settings: Settings, command: Sequence[str] | None = None) -> int:
    """Supervises a daemon that is started by `command`, by default as this process was; returns the exit code."""
    command = command or [sys.executable, "-m", "server.cli", *sys.argv[1:]]
    try:
        return asyncio.run(_run(settings, command))
    except TenantFileError as error:
        _log.error("bad tenants file", why=str(error))
        return EXIT_USAGE
    except CertificateError as error:
        _log.error("bad certificate", why=str(error))
        return EXIT_USAGE


async def _run(settings: Settings, command: Sequence[str]) -> int:
    return await Supervisor(settings, command).run()
