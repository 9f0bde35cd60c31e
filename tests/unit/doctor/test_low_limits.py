"""Limits that are really low, in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys

LOOK = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (600, 700))
from server.doctor.file_descriptors import check_files
from server.doctor.gathering.machine import gather_files
from server.doctor.start import start_of
from server.settings import load
found = check_files(gather_files(), start_of(load("reference-cpu")))
print(found.level, found.what, found.todo, sep="|")
"""


def test_low_limits_on_open_files_are_seen_and_told_how_to_raise() -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 700
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    level, what, todo = done.stdout.strip().split("|")
    assert (level, what) == ("warn", "600 (hard limit 700), 2,816 wanted")
    assert todo.startswith("raise the hard limit to 65536; LimitNOFILE= in systemd")
