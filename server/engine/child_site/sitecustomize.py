"""Python runs this at the start of each process that the engine spawns; see `server.engine.child_processes`."""

import importlib
import importlib.machinery
import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType


class _Before:
    """Finds nothing itself; the first search for a module makes it run what that module needs, and leave."""

    def __init__(self, module: str, ensure: str) -> None:
        self._module = module
        self._ensure = ensure

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if name == self._module:
            sys.meta_path.remove(self)
            importlib.import_module(self._ensure).ensure()


def _run_hidden_sitecustomize() -> None:
    """Runs the sitecustomize that this one stands in front of, if the environment has one."""
    here = Path(__file__).parent
    rest = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def _end_with(parent: int) -> None:
    """Ends this process once its parent is gone, however that ended: an orphan would keep its memory for ever."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGKILL)


# Ctrl-C goes to a terminal's whole process group. The engine is not to hear it: the daemon drains first.
os.setpgid(0, 0)
threading.Thread(target=_end_with, args=[os.getppid()], name="end-with-parent", daemon=True).start()
sys.meta_path.insert(0, _Before("torchvision", "server.engine.torchvision_ops"))
sys.meta_path.insert(
    0, _Before("vllm.model_executor.layers.mamba.ops.cpu.gdn_attention", "server.engine.cpu_convolution")
)
_run_hidden_sitecustomize()
