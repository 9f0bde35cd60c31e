"""One run of the daemon: listen, start the engine, serve, drain, and end with a truthful exit code."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from server.admission.gate import State
from server.admission.tenant_file import TenantFileError
from server.api.admin import Controls, build_admin_app
from server.api.certificates import CertificateError
from server.api.direct_send import DirectSend
from server.app import attach_engine, build_app, build_service
from server.engine.client import StartFailed, VllmEngine
from server.engine.process_tree import descendants, kill
from server.engine.startup_phases import StartupPhases
from server.front_settings import admin_needs_key
from server.generation.errors import EngineDied, Interrupted
from server.generation.ports import Engine
from server.http_server import certificates_of, http_server
from server.idle_memory import give_back_when_idle
from server.listening import CannotListen, allow_open_files, listeners
from server.preflight import CannotStart, preflight
from server.settings import Settings
from server.store.opening import open_store
from server.store.response_store import StoreStartError
from server.supervised import RESTARTS, Supervised
from server.telemetry.engine_metrics import show_heartbeat
from server.telemetry.frontend_metrics import show_state, watch_loop
from server.telemetry.logs import get_logger
from server.telemetry.metrics import STARTUP_SECONDS
from server.vitals.condition import Status
from server.vitals.watch import Beating, Watch
from server.welcome import welcome

_log = get_logger("daemon")

# After the engine's death: how often it is looked for, how long its last words may take, how long streams have to send
# their error event, and when the process ends even if something hangs.
_DEATH_POLL_SECONDS = 0.2
_LAST_ERRORS_SECONDS = 0.5
_LAST_WORDS_SECONDS = 2.5
_DEATH_LIMIT_SECONDS = 8.0
_ENGINE_STOP_SECONDS = 5.0
# After a drain: connections are given 5 s and the engine as long, and then it ends all the same.
_DRAINED_LIMIT_SECONDS = 13.0
_LAST_ANSWER_SECONDS = 0.1
_GC_THRESHOLDS = (20_000, 20, 20)

_NO_CAUSE = "nothing tells why"
_NO_ADMIN_KEY = (
    "no key has the scope `admin`: make one with `qwend keys create --admin`, or set server.admin_host to a loopback "
    "address or server.admin to false"
)

EXIT_OK = 0
EXIT_ENGINE = 1
EXIT_LISTEN = 2
EXIT_USAGE = 2


class OwnedEngine(Engine, Beating, Protocol):
    """An engine with the processes that it runs in, which end with the daemon."""

    @property
    def dead(self) -> bool:
        """Whether the engine is gone."""

    @property
    def cause(self) -> str:
        """Why it is gone, in one line, as far as anything tells."""

    @property
    def exit_codes(self) -> Mapping[int, int | None]:
        """How each of its processes ended, by process id; None while it runs."""

    async def stop(self, seconds: float) -> None:
        """Ends its processes, waiting up to `seconds` for them to end by themselves."""


StartEngine = Callable[[Settings, StartupPhases], Awaitable[OwnedEngine]]


class Daemon:
    """Runs once; `run` returns the process's exit code.

    `start_engine` raises whatever keeps the engine from starting.
    """

    def __init__(self, settings: Settings, start_engine: StartEngine = VllmEngine.start) -> None:
        self._settings = settings
        self._start_engine = start_engine
        self._phases = StartupPhases(self._phase_ended)
        self._service = build_service(settings, self._phases)
        self._gate, self._vitals = self._service.gate, self._service.vitals
        show_state(Status, lambda: self._vitals.condition().status)
        show_heartbeat(lambda: self._vitals.silence)
        self._certificates = certificates_of(settings.server)
        self._http = http_server(DirectSend(build_app(self._service)), settings, self._certificates)
        with_key = admin_needs_key(settings.server)
        self._admin = http_server(
            build_admin_app(
                Controls(
                    tenants=self._service.tenants,
                    quotas=self._service.quotas,
                    desk=self._service.desk,
                    drain=lambda: self._drain("admin"),
                    state=self._state,
                    in_flight=lambda: len(self._gate),
                    status=lambda: self._service,
                    need_key=with_key,
                )
            ),
            settings,
            # What only this machine reaches needs no certificate, whose name it would not have.
            self._certificates if with_key else None,
        )
        self._engine: OwnedEngine | None = None
        self._supervised = Supervised()
        self._vitals.restarts = int(os.environ.pop(RESTARTS, "0"))
        self._signals = 0
        self._draining = False
        self._given_up = ""
        self._reloading: asyncio.Task[None] | None = None
        self._watching_store: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Serves until a signal or the engine's end."""
        server = self._settings.server
        if server.admin and admin_needs_key(server) and not self._service.tenants.directory.has_admin_key:
            _log.error("the admin port would be open to nobody", host=server.admin_host, why=_NO_ADMIN_KEY)
            return EXIT_USAGE
        try:
            listener, *admin_listeners = listeners(self._settings.server)
        except CannotListen as error:
            _log.error("cannot listen", which=error.which, host=error.host, port=error.port, why=error.why)
            return EXIT_LISTEN
        allow_open_files()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        try:
            self._service.store = await open_store(self._settings.responses_store)
        except StoreStartError as error:
            _log.error("cannot store responses", why=str(error))
            return EXIT_USAGE
        administrating = asyncio.create_task(self._admin.serve(sockets=admin_listeners)) if admin_listeners else None
        watching = [asyncio.create_task(self._service.tenants.watch()), asyncio.create_task(watch_loop(self._tick))]
        if self._certificates is not None:
            watching.append(asyncio.create_task(self._certificates.watch()))
        try:
            code = await self._serve(listener, admin_listeners)
        finally:
            for each in watching:
                each.cancel()
            self._admin.should_exit = True
            if administrating is not None:
                await administrating
            await self._service.quotas.close()
            await self._close_store()
            if self._service.tracing is not None:
                await asyncio.to_thread(self._service.tracing.close)
        self._tell_end(code)
        return code

    async def _close_store(self) -> None:
        if self._service.store is None:
            return
        await self._service.background.close()
        if self._watching_store is not None:
            self._watching_store.cancel()
        await self._service.store.close()

    async def _serve(self, listener: socket.socket, admin_listeners: list[socket.socket]) -> int:
        serving = asyncio.create_task(self._http.serve(sockets=[listener]))
        listening = asyncio.create_task(self._supervised.listening(self._http, lambda: self._drain("supervisor gone")))
        try:
            engine = self._engine = await self._started()
        except Exception as error:  # noqa: BLE001 - whatever it was, the process must end and say it
            return await self._did_not_start(_cause(error), serving, show_trace=not isinstance(error, CannotStart))
        attach_engine(self._service, engine, self._settings)
        # What is there by now stays for good, and it is a lot: a full collection that walks it stalls every stream for
        # more than half a second (measured at 20 requests a second, about once a minute).
        gc.collect()
        gc.freeze()
        # What a token leaves behind is freed without the collector; at its own thresholds (700, 10, 10) it would look
        # for cycles among them hundreds of times a second.
        gc.set_threshold(*_GC_THRESHOLDS)
        if self._service.store is not None:
            # Not before: while the engine starts, Python's lock is held for so long that a database seems to be silent.
            self._watching_store = asyncio.create_task(self._service.store.watch())
        self._phases.enter("ready")
        self._announce(listener, *admin_listeners)
        await listening
        self._supervised.ready()
        watching = [
            asyncio.create_task(self._watch(engine)),
            asyncio.create_task(self._heartbeat(engine).run()),
            asyncio.create_task(give_back_when_idle(lambda: len(self._gate))),
        ]
        await serving
        for each in watching:
            each.cancel()
        if engine.dead and self._gate.state is not State.DEAD:
            # It died in a drain, which that brought to its end: nobody was left inside.
            self._gate.close()
            self._vitals.cause = engine.cause or _NO_CAUSE
        died = self._gate.state is State.DEAD
        code = EXIT_ENGINE if died else EXIT_OK
        if not died:
            self._end_within(_DRAINED_LIMIT_SECONDS, code)
        # A dead one too: of several processes some may be left, and what it left behind is to be taken away.
        with contextlib.suppress(Exception):
            await engine.stop(0.0 if died else _ENGINE_STOP_SECONDS)
        self._tell_drain()
        return code

    def _tick(self) -> None:
        if self._service.cost is not None:
            self._service.cost.settle()
        if self._vitals.strains is not None and not self._vitals.hesitates:
            self._vitals.strains.look(self._service.desk.clock())

    async def _started(self) -> OwnedEngine:
        """The engine. Raises CannotStart where it is certain before, or takes too long, that it will not be there."""
        await asyncio.to_thread(preflight, self._settings)
        seconds = self._settings.health.start_seconds
        starting = asyncio.ensure_future(self._start_engine(self._settings, self._phases))
        # Not cancelled: what hangs is in a thread.
        await asyncio.wait([starting], timeout=seconds or None)
        if not starting.done():
            raise CannotStart(
                f"the start is not over after {seconds:g} s (health.start_seconds); it is at: {self._phases.current}"
            )
        return starting.result()

    async def _did_not_start(self, why: str, serving: asyncio.Task[None], *, show_trace: bool) -> int:
        _log.error("the engine did not start", why=why, exc_info=show_trace and self._settings.log.level == "debug")
        self._vitals.cause = f"the engine did not start: {why}"
        self._gate.close()
        self._end_within(_DEATH_LIMIT_SECONDS, EXIT_ENGINE)
        _kill_children()
        self._http.should_exit = True
        await serving
        return EXIT_ENGINE

    def _phase_ended(self, phase: str, seconds: float) -> None:
        STARTUP_SECONDS.labels(phase).set(seconds)
        _log.info("start", done=phase, seconds=round(seconds, 1), next=self._phases.current)

    def _announce(self, listener: socket.socket, admin: socket.socket | None = None) -> None:
        server, model = self._settings.server, self._settings.model.served_name
        port, admin_port = listener.getsockname()[1], admin.getsockname()[1] if admin is not None else None
        length = self._service.max_model_len
        _log.info("ready", host=server.host, port=port, admin_port=admin_port, model=model, max_model_len=length)
        if self._settings.log.format == "console":
            print(welcome(server.host, port, model), flush=True)

    def _on_signal(self, number: signal.Signals) -> None:
        self._signals += 1
        name = signal.Signals(number).name
        if self._signals > 1:
            _log.warning("ending now", why=name, in_flight=len(self._gate))
            self._end_now(128 + number)
        self._drain(name)

    def _on_hangup(self) -> None:
        self._reloading = asyncio.create_task(self._reload_files())

    async def _reload_files(self) -> None:
        with contextlib.suppress(TenantFileError):  # told in the log, and the old ones stay
            await self._service.tenants.reload()
        if self._certificates is not None:
            await self._certificates.reload()

    def _state(self) -> State:
        """The gate's, but that the lame duck's is told as what it is the beginning of."""
        state = self._gate.state
        return State.DRAINING if self._draining and state is State.SERVING else state

    def _drain(self, why: str) -> None:
        """Turns readiness off, after `lame_duck_seconds` refuses what comes, waits for what runs, then ends."""
        if self._draining:
            return
        self._draining = True
        loop = asyncio.get_running_loop()
        if self._engine is None:
            # Nothing has been served yet: there is nothing to wait for, but for the answer to who asked.
            _log.warning("ending now", why=why, in_flight=0)
            loop.call_later(_LAST_ANSWER_SECONDS, self._end_now, EXIT_OK)
            return
        seconds = self._settings.server.lame_duck_seconds
        self._vitals.leaves_at = loop.time() + seconds
        if seconds:
            _log.info("lame duck", why=why, in_flight=len(self._gate), seconds=seconds)
            loop.call_later(seconds, self._shut, why)
        else:
            self._shut(why)

    def _shut(self, why: str) -> None:
        loop = asyncio.get_running_loop()
        seconds = self._settings.server.drain_seconds
        _log.info("draining", why=why, in_flight=len(self._gate), seconds=seconds)
        self._vitals.drain_ends = loop.time() + seconds
        self._gate.drain(when_empty=self._drained)
        loop.call_later(seconds, self._drain_is_over)

    def _end_now(self, code: int) -> None:
        _kill_children()
        self._flush_lines()
        os._exit(EXIT_OK if self._engine is None else code)

    def _drained(self) -> None:
        self._http.should_exit = True

    def _drain_is_over(self) -> None:
        error = Interrupted("The server is shutting down and could not finish this request in time.")
        ended = self._gate.interrupt_all(error)
        if ended:
            _log.warning("drain deadline passed", ended_early=ended)
        # Who holds a permit and can be told nothing, as a client that still sends its body, is not waited for.
        asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, self._drained)

    def _tell_drain(self) -> None:
        self._flush_lines()
        report = self._gate.drained
        if report is not None:
            # Whoever is still inside was cut off with its connection.
            early = report.ended_early + len(self._gate)
            _log.info(
                "drained",
                running=report.running,
                finished=report.finished,
                ended_early=early,
                left=report.left,
                refused=report.refused,
            )

    def _tell_end(self, code: int) -> None:
        """The last line of the log, with the cause where there is one."""
        self._flush_lines()
        if self._vitals.cause:
            _log.error("stopped", exit_code=code, why=self._vitals.cause)
        else:
            _log.info("stopped", exit_code=code)

    def _flush_lines(self) -> None:
        if self._service.request_lines is not None:
            self._service.request_lines.flush()

    def _end_within(self, seconds: float, code: int) -> None:
        """Ends the process after `seconds` whatever hangs."""

        def end() -> None:
            _kill_children()
            self._tell_end(code)
            os._exit(code)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()

    def _heartbeat(self, engine: OwnedEngine) -> Watch:
        health = self._settings.health
        return Watch(
            engine,
            self._gate,
            self._vitals,
            step_seconds=health.step_seconds,
            compile_seconds=health.compile_seconds,
            canary_seconds=health.canary_seconds,
            end_seconds=health.end_stalled_seconds,
            lost=self._give_up,
        )

    def _give_up(self, why: str) -> None:
        """The engine is as good as dead."""
        self._given_up = why

    async def _watch(self, engine: OwnedEngine) -> None:
        """Ends the daemon when the engine dies."""
        while not engine.dead and not self._given_up:
            await asyncio.sleep(_DEATH_POLL_SECONDS)
        if self._http.should_exit:
            return  # it has been told to end
        # Before anything else that takes time, so that no request gets in that could only fail.
        self._gate.close()
        self._end_within(_DEATH_LIMIT_SECONDS, EXIT_ENGINE)
        self._gate.interrupt_all(EngineDied("The engine has died; this request cannot be finished."))
        if not self._given_up:
            await asyncio.sleep(_LAST_ERRORS_SECONDS)  # a process that dies of another's death says so first
        self._vitals.cause = self._given_up or engine.cause or _NO_CAUSE
        _log.error(
            "the engine process died" if not self._given_up else "the engine is given up",
            in_flight=len(self._gate),
            engine_processes=dict(engine.exit_codes),
            why=self._vitals.cause,
        )
        deadline = asyncio.get_running_loop().time() + _LAST_WORDS_SECONDS
        while len(self._gate) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
        self._http.should_exit = True


def _kill_children() -> None:
    """Ends the engine's processes that this process started, with all that they started: a stopped one as well."""
    children = multiprocessing.active_children()
    below = descendants(child.pid for child in children if child.pid is not None)
    for child in children:
        child.kill()
    kill(below)


def _cause(error: BaseException) -> str:
    """The innermost reason, which is the one that says something."""
    if isinstance(error, CannotStart | StartFailed):
        return str(error)
    while error.__cause__ is not None:
        error = error.__cause__
    first_line: str = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return f"{type(error).__name__}: {first_line}"


def run(settings: Settings, start_engine: StartEngine = VllmEngine.start) -> int:
    """Runs a daemon on an event loop of its own; returns its exit code."""
    import uvloop

    async def main() -> int:
        try:
            daemon = Daemon(settings, start_engine)
        except TenantFileError as error:
            _log.error("bad tenants file", why=str(error))
            return EXIT_USAGE
        except CertificateError as error:
            _log.error("bad certificate", why=str(error))
            return EXIT_USAGE
        return await daemon.run()

    with asyncio.Runner(loop_factory=_loop_factory(uvloop)) as runner:
        return runner.run(main())


def _loop_factory(uvloop: Any) -> Any:
    return uvloop.new_event_loop
