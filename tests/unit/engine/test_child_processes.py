"""What a process that the engine starts is like, seen from such a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.engine.child_processes import prepare_children

ASKED = """
import json, os, sys
before = "torch" in sys.modules
import torchvision
print(json.dumps({"group": os.getpgrp(), "pid": os.getpid(), "before": before, "marker": os.environ.get("MARKER")}))
"""


def ask(monkeypatch: pytest.MonkeyPatch, pythonpath: str) -> dict[str, object]:
    monkeypatch.setenv("PYTHONPATH", pythonpath)
    prepare_children()
    prepare_children()
    assert os.environ["PYTHONPATH"].count("child_site") == 1
    done = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=True)
    told: dict[str, object] = json.loads(done.stdout)
    return told


def test_it_can_import_torchvision_and_hears_no_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    told = ask(monkeypatch, "")
    assert told["group"] == told["pid"]
    assert told["before"] is False, "torch is imported only when torchvision is"


def test_it_ends_with_its_parent_even_a_killed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    prepare_children()
    sleeper = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {sleeper!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as running:
        child = Path(f"/proc/{int(running.stdout.readline())}")
        assert child.exists()
        running.kill()
    deadline = time.monotonic() + 5
    while child.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.exists()


def test_the_environments_own_sitecustomize_still_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos.environ['MARKER'] = 'ran'\n")
    assert ask(monkeypatch, str(tmp_path))["marker"] == "ran"
