"""The daemon's side of `--supervise`: it tells its supervisor how far it is, and ends when that is gone."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

import uvicorn

SUPERVISOR = "QWEND_SUPERVISOR"
"""Environment variable: the file descriptor of a socket to the supervisor."""
RESTARTS = "QWEND_RESTARTS"
"""Environment variable: how many times the supervisor has started the daemon anew."""

LISTENING, READY = b"l", b"r"
_LOOK_SECONDS = 0.02


def is_supervised() -> bool:
    """Whether a supervisor has started this process."""
    return SUPERVISOR in os.environ


class Supervised:
    """Does nothing where there is no supervisor."""

    def __init__(self) -> None:
        number = os.environ.pop(SUPERVISOR, "")
        self._line = socket.socket(fileno=int(number)) if number else None
        if self._line is not None:
            self._line.set_inheritable(False)
            self._line.setblocking(False)

    async def listening(self, server: uvicorn.Server, gone: Callable[[], None]) -> None:
        """Tells the supervisor once `server` takes connections; `gone` is called when the supervisor has ended."""
        if self._line is None:
            return
        asyncio.get_running_loop().add_reader(self._line, self._heard, gone)
        while not server.started and not server.should_exit:
            await asyncio.sleep(_LOOK_SECONDS)
        self._tell(LISTENING)

    def ready(self) -> None:
        """Tells the supervisor that requests are served."""
        self._tell(READY)

    def _tell(self, what: bytes) -> None:
        if self._line is not None:
            try:
                self._line.send(what)
            except OSError:
                return  # it is gone, which `_heard` sees

    def _heard(self, gone: Callable[[], None]) -> None:
        assert self._line is not None
        try:
            if self._line.recv(64):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        asyncio.get_running_loop().remove_reader(self._line)
        gone()
