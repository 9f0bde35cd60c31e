"""Programs that are asked, with a limit on the time that they may take."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

_SECONDS = 15.0

# Where drivers put their tools when PATH does not say it: Kubernetes' device plugin, and ROCm's packages.
_ALSO = ("/usr/local/nvidia/bin", "/opt/rocm/bin")


class NotRun(Exception):
    """A program is not there, failed or took too long; the message says which."""


def run(command: Sequence[str], seconds: float = _SECONDS) -> str:
    """What `command` prints on its standard output. Raises NotRun, with what it said when it failed."""
    path = shutil.which(command[0], path=os.pathsep.join((os.environ.get("PATH", ""), *_ALSO)))
    if path is None:
        raise NotRun(f"{command[0]} is not installed")
    try:
        done = subprocess.run(
            [path, *command[1:]], capture_output=True, text=True, errors="replace", timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotRun(f"{command[0]} did not answer in {seconds:g} s") from None
    except OSError as error:
        raise NotRun(f"{command[0]}: {error.strerror or error}") from None
    if done.returncode:
        said = next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), "")
        raise NotRun(said or f"{command[0]} ended with exit code {done.returncode}")
    return done.stdout
