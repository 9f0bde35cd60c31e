"""The engine's processes, read from a /proc made up here and, for real ones, from the system's."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from server.engine.process_tree import Compilers, descendants, ended, kill


def process(root: Path, number: int, parent: int, program: str, ticks: int = 0, command: str = "") -> None:
    folder = root / str(number)
    folder.mkdir(exist_ok=True)
    fields = ["S", str(parent), *["0"] * 9, str(ticks), "0", *["0"] * 6, "77"]
    (folder / "stat").write_text(f"{number} ({program}) {' '.join(fields)} 0 0")
    (folder / "cmdline").write_text(command)


def test_those_below_are_found_whatever_their_names(tmp_path: Path) -> None:
    process(tmp_path, 10, 1, "core")
    process(tmp_path, 11, 10, "a (strange) name")
    process(tmp_path, 12, 11, "nvcc")
    process(tmp_path, 20, 1, "other")
    found = {each.id: each.program for each in descendants([10], tmp_path)}
    assert found == {11: "a (strange) name", 12: "nvcc"}


def test_compilers_are_at_work_while_they_use_time(tmp_path: Path) -> None:
    compilers = Compilers(tmp_path)
    process(tmp_path, 10, 1, "core")
    process(tmp_path, 30, 1, "gcc", 5)
    assert not compilers.at_work([10]), "another's compiler"
    process(tmp_path, 11, 10, "python", 9, "python\0/x/torch/_inductor/compile_worker/__main__.py\0")
    assert compilers.at_work([10])
    assert not compilers.at_work([10]), "inductor's workers wait between compilations"
    process(tmp_path, 11, 10, "python", 10, "python\0/x/torch/_inductor/compile_worker/__main__.py\0")
    assert compilers.at_work([10])
    process(tmp_path, 12, 10, "ptxas", 1)
    assert compilers.at_work([10])
    process(tmp_path, 13, 10, "python", 400)
    assert not compilers.at_work([10]), "a worker is no compiler"


def test_ended_are_those_that_are_gone_were_replaced_or_were_not_yet_waited_for(tmp_path: Path) -> None:
    for number in (11, 12, 13, 14):
        process(tmp_path, number, 10, "worker")
    runs, gone, replaced, zombie = sorted(descendants([10], tmp_path), key=lambda each: each.id)
    assert ended([runs, gone, replaced, zombie], tmp_path) == []
    shutil.rmtree(tmp_path / "12")
    stat = tmp_path / "14" / "stat"
    stat.write_text(stat.read_text().replace(") S ", ") Z "))
    assert ended([runs, gone, dataclasses.replace(replaced, began=1), zombie], tmp_path) == [
        gone,
        dataclasses.replace(replaced, began=1),
        zombie,
    ]


def test_stopped_processes_are_killed_and_those_with_their_numbers_spared() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", "import subprocess; subprocess.Popen(['sleep', '60']).wait()"], start_new_session=True
    )
    try:
        deadline = time.monotonic() + 10
        while not (found := descendants([parent.pid])):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (child,) = found
        os.kill(child.id, signal.SIGSTOP)
        other = dataclasses.replace(child, began=child.began - 1)
        kill([other])
        assert [each.id for each in descendants([parent.pid])] == [child.id]
        kill([child])
        parent.wait(5)
    finally:
        parent.kill()
