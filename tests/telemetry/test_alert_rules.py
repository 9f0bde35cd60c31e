"""Rules and dashboards as files: Prometheus' own checker on series that faults make, and the generator's output."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import Any

from tests.telemetry.prometheus_server import needed

ROOT = Path(__file__).parents[2]


def test_the_intended_alerts_fire_and_no_others() -> None:
    test = Path(__file__).with_name("alerts_test.yaml")
    done = subprocess.run([needed("promtool"), "test", "rules", str(test)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_valid() -> None:
    files = sorted(map(str, (ROOT / "deploy" / "prometheus").glob("*.yaml")))
    done = subprocess.run([needed("promtool"), "check", "rules", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def dashboards() -> Any:
    """The module that writes the dashboards."""
    spec = importlib.util.spec_from_file_location("dashboards", ROOT / "scripts" / "dashboards.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_dashboards_are_what_the_script_writes() -> None:
    script = dashboards()
    written = {path.stem: path.read_text() for path in (ROOT / "deploy" / "grafana").glob("*.json")}
    assert written == {name: script.render(name) for name in script.DASHBOARDS}, "run: make dashboards"
