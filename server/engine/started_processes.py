"""How the processes of an engine ended that never came up: vLLM's own error says only that one of them failed."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from multiprocessing.process import BaseProcess
from types import TracebackType

_LOOK_SECONDS = 0.1


class StartedProcesses:
    """A context in which the engine is started; afterwards `failed` knows of all children that were there.

    vLLM forgets its processes as it fails, and looks at them too early to know how they ended.
    """

    def __init__(self) -> None:
        self._found: dict[int, BaseProcess] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="started-processes", daemon=True)

    @property
    def failed(self) -> dict[int, int | None]:
        """Exit codes by process id of those that did not end well, nor by the SIGTERM with which vLLM ends the rest."""
        codes = {process: each.exitcode for process, each in self._found.items()}
        return {process: code for process, code in codes.items() if code not in (None, 0, -signal.SIGTERM)}

    def __enter__(self) -> StartedProcesses:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            # By its id, which an ended one keeps.
            self._found.update({each.pid: each for each in multiprocessing.active_children() if each.pid is not None})
