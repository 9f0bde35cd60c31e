"""A log that cannot be written fails nobody."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import structlog
from server.telemetry.logs import configure_logs, get_logger
configure_logs("info", {form!r})
for line in range(100):
    get_logger("test").error("this cannot be written", line=line, text="x" * 1000)
print("went on")
"""


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_full_disk_behind_the_log_fails_nobody(form: str) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - no file of ours
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(form=form)],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            check=False,
        )
    assert done.stdout == "went on\n"


def test_nor_does_a_reader_that_has_gone() -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(form="json")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    assert running.stdout is not None
    running.stderr.close()
    assert running.stdout.read() == "went on\n"
    running.wait(10)
    running.stdout.close()
