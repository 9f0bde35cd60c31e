"""Which phase a start is in, and how long each took; and what the engine's processes said before they died.

A start of the real model takes minutes, nearly all of them inside vLLM's processes, which tell what they do in their
log alone. A log handler in each of them sends the daemon the name of the phase that a known line begins, and the errors
that it logs: where a process ends, its last words are the only ones that say why.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.engine.last_words import LastWords, said

PHASES = ("configuration", "engine process", "weights", "warm-up", "ready")

_SOCKET = "QWEND_STARTUP_SOCKET"
_CONFIG_PATH, _CONFIG = "VLLM_LOGGING_CONFIG_PATH", "logging.json"

# Beginnings of log lines of vLLM 0.32 (v1/engine/core.py and model_loader/default_loader.py) and what begins there.
_MARKS = {
    "Initializing a V1 LLM engine": "weights",
    "Loading weights took": "warm-up",
}


_ERROR = "error: "
_LONGEST = 4096


class PhaseHandler(logging.Handler):
    """Runs in vLLM's processes: tells the daemon when a line begins a phase, and of every error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Sends the phase that this record begins or the error that it is, if any.

        A daemon that no longer listens is no error, and whatever is odd about a record must not end who logs it.
        """
        path = os.environ.get(_SOCKET)
        if path is None:
            return
        try:
            told = next((name for start, name in _MARKS.items() if str(record.msg).startswith(start)), None)
            if told is None and record.levelno >= logging.ERROR:
                told = f"{_ERROR}{said(record)}"
            if told is None:
                return
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto(told.encode(errors="replace"), path)
        except OSError:
            return
        except Exception:  # noqa: BLE001 - as logging's own handlers do
            self.handleError(record)


class StartupPhases:
    """Follows one start through PHASES, always forwards; `report` is told of each phase as it ends, with seconds."""

    def __init__(self, report: Callable[[str, float], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._lock = threading.Lock()
        self._index = 0
        self._began = clock()

    @property
    def current(self) -> str:
        """The phase that the start is in."""
        return PHASES[self._index]

    def enter(self, phase: str) -> None:
        """The start has reached `phase`; an earlier or the same one is ignored, since every worker reports."""
        with self._lock:
            index = PHASES.index(phase)
            if index <= self._index:
                return
            ended, self._index = PHASES[self._index], index
            now = self._clock()
            seconds, self._began = now - self._began, now
        self._report(ended, seconds)


class EngineLogTap:
    """A context in which vLLM's processes are started, so that their logs reach `phases` and standard error.

    Sets VLLM_LOGGING_CONFIG_PATH unless the operator has set it, in which case the phases between are not seen.
    """

    def __init__(self, phases: StartupPhases, level: str, words: LastWords | None = None) -> None:
        self._phases = phases
        self._words = words
        self._level = level.upper()
        self._folder = tempfile.TemporaryDirectory(prefix="qwend-")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def open(self) -> None:
        """Must run before vllm is imported: it configures its logging at import."""
        folder = Path(self._folder.name)
        address = str(folder / "phases")
        self._socket.bind(address)
        os.environ[_SOCKET] = address
        config = folder / _CONFIG
        config.write_text(json.dumps(_logging_config(self._level)), encoding="utf-8")
        os.environ.setdefault(_CONFIG_PATH, str(config))
        threading.Thread(target=self._listen, name="startup-phases", daemon=True).start()

    def started(self) -> None:
        """The processes are there: later ones are none of the engine's, but these are still listened to."""
        os.environ.pop(_SOCKET, None)
        # Or the next process that imports vllm would look for a file that may be gone, and end.
        if os.environ.get(_CONFIG_PATH) == str(Path(self._folder.name) / _CONFIG):
            del os.environ[_CONFIG_PATH]

    def close(self) -> None:
        """Stops listening and removes the files."""
        self.started()
        self._socket.close()
        self._folder.cleanup()

    def _listen(self) -> None:
        while True:
            try:
                told = self._socket.recv(_LONGEST).decode(errors="replace")
            except OSError:
                return
            if told in PHASES:
                self._phases.enter(told)
            elif told.startswith(_ERROR) and self._words is not None:
                self._words.hear(told.removeprefix(_ERROR))


def _logging_config(level: str) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(levelname)s vllm[%(process)d] %(name)s: %(message)s"}},
        "handlers": {
            "phases": {"class": "server.engine.startup_phases.PhaseHandler", "level": "INFO"},
            "lines": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "level": level,
                "stream": "ext://sys.stderr",
            },
        },
        "loggers": {
            "vllm": {
                "handlers": ["phases", "lines"],
                "level": "DEBUG" if level == "DEBUG" else "INFO",
                "propagate": False,
            }
        },
    }
