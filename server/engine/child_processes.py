"""What the processes that vLLM starts for us must do first, before any of vLLM's own code runs in them.

They are new interpreters, and vLLM imports torchvision in them before it looks for plugins, so an entry point would
come too late. A folder on PYTHONPATH whose `sitecustomize.py` Python itself runs at start is what reaches them all.
"""

from __future__ import annotations

import os
from pathlib import Path

_TRACKER = "ignore::UserWarning:multiprocessing.resource_tracker"


def prepare_children() -> None:
    """Makes processes started from now on leave our process group, end with us, and be able to import torchvision."""
    site = str(Path(__file__).with_name("child_site"))
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if site not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([site, *paths])
    # What a killed engine left is taken away by Python's tracker, after us: its remark would be the log's last line.
    wanted = [each for each in os.environ.get("PYTHONWARNINGS", "").split(",") if each]
    if _TRACKER not in wanted:
        os.environ["PYTHONWARNINGS"] = ",".join([*wanted, _TRACKER])
