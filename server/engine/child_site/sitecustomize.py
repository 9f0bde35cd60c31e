"""Python runs this at the start of each process that the engine spawns; see `server.engine.child_processes`."""

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType


class _BeforeTorchvision:
    """Finds nothing itself; the first search for torchvision makes it define the schemas and leave."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            from server.engine.torchvision_ops import ensure

            ensure()


def _run_hidden_sitecustomize() -> None:
    """Runs the sitecustomize that this one stands in front of, if the environment has one."""
    here = Path(__file__).parent
    rest = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


# Ctrl-C goes to a terminal's whole process group. The engine is not to hear it: the daemon drains first.
os.setpgid(0, 0)
sys.meta_path.insert(0, _BeforeTorchvision())
_run_hidden_sitecustomize()
