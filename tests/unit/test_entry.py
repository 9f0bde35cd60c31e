"""The command as a container's process 1, which a signal without a handler does not end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from server.entry import main; main()", "serve", "--port", "0", "--admin-port", "0"]


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root makes a process 1 here")
def test_a_process_one_is_ended_by_a_signal_before_it_has_imported_anything_slow() -> None:
    outer = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", *COMMAND], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    try:
        inner = child(outer.pid)
        while not caught(inner, signal.SIGTERM):
            assert outer.poll() is None
            time.sleep(0.005)
        assert "pydantic_core" not in Path(f"/proc/{inner}/maps").read_text(), "so late it would have been lost"
        os.kill(inner, signal.SIGTERM)
        assert outer.wait(20) == 0
    finally:
        outer.kill()


def child(process: int) -> int:
    deadline = time.monotonic() + 10
    while not (found := Path(f"/proc/{process}/task/{process}/children").read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return int(found[0])


def caught(process: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    mask = re.search(r"^SigCgt:\s+(\w+)", Path(f"/proc/{process}/status").read_text(), re.MULTILINE).group(1)
    return bool(int(mask, 16) >> (number - 1) & 1)
