"""The command line against a server whose times are known: what it writes, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.loadtest.synthetic_process import SyntheticProcess

KEY = "sk-loadtest-0123456789"
PLAIN: dict[str, Any] = {
    "name": "plain",
    "duration": 2,
    "slo": {"ttft": 0.5},
    "gates": {"attainment": 0.9, "lag_p99_ms": 100, "cpu": 5},
    "tenants": [{"name": "a", "arrivals": {"process": "poisson", "rate": 20}, "output": 4, "key_env": "LOADTEST_KEY"}],
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with SyntheticProcess(ttft=0.05, itl=0.01) as server:
        yield server.url


def loadtest(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LOADTEST_KEY": KEY}
    command = [sys.executable, "-m", "loadtest", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


def written(folder: Path, values: dict[str, Any]) -> str:
    path = folder / "plain.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def ran(url: str, folder: Path, values: dict[str, Any], *more: str) -> subprocess.CompletedProcess[str]:
    return loadtest("run", written(folder, values), "--base-url", url, "--out", str(folder / "out"), *more)


def test_a_run_writes_three_files_and_no_key(url: str, tmp_path: Path) -> None:
    done = ran(url, tmp_path, PLAIN)
    assert done.returncode == 0, done.stderr
    assert "in SLO (100.0 %)" in done.stdout
    assert "plain time=" in done.stderr, "plain lines where no terminal is"
    assert {each.name for each in (tmp_path / "out").iterdir()} == {"plain.json", "plain.csv", "plain.html"}
    for each in (tmp_path / "out").iterdir():
        assert KEY not in each.read_text()
        assert KEY[:12] not in each.read_text()
    assert KEY not in done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "plain.json").read_text())
    assert found["target"]["model"] == "synthetic"
    assert found["figures"]["requests"] == len(found["requests"]["at"]) > 20
    # Asked of the server: one token for each word, and 8 around them.
    assert found["tokens_per_word"] == 1
    assert found["figures"]["tokens_per_second"]["prompt"] == pytest.approx(
        100 * found["figures"]["requests"] / 2, rel=0.1
    )


def test_the_exit_code_tells_what_came_of_it(url: str, tmp_path: Path) -> None:
    assert ran(url, tmp_path, {**PLAIN, "slo": {"ttft": 0.001}}).returncode == 1
    late = ran(url, tmp_path, {**PLAIN, "gates": {"lag_p99_ms": 0.1}})
    assert late.returncode == 3
    assert "NOT VALID: the " in late.stdout


@pytest.mark.parametrize(
    ("change", "more", "told"),
    [
        ({"durration": 3}, (), "unknown key `durration`; did you mean `duration`?"),
        (
            {"tenants": [{**PLAIN["tenants"][0], "arrivals": {"process": "poisson", "rate": "2x"}}]},
            (),
            "give --capacity",
        ),
        ({"events": [{"at": 1, "post": "{admin_url}/x"}]}, (), "give its --admin-url"),
        ({"tenants": [{**PLAIN["tenants"][0], "key_env": "LOADTEST_NO_KEY"}]}, (), "`LOADTEST_NO_KEY`"),
        ({}, ("--base-url", "ftp://127.0.0.1/v1"), "begins with http"),
        ({}, ("--base-url", "http://127.0.0.1:9/v1"), "cannot be reached: ConnectionRefusedError"),
        ({}, ("--keys", "/nowhere.yaml"), "cannot be read"),
        ({"warmup": 1}, ("--duration", "0.5"), "warm-up of 1 s"),
    ],
)
def test_what_cannot_begin_is_told_in_a_line(
    url: str, change: dict[str, Any], more: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    done = ran(url, tmp_path, {**PLAIN, **change}, *more)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sweep_is_what_others_count_from(tmp_path: Path) -> None:
    values = {**PLAIN, "duration": 1.5, "warmup": 0.3, "settle": 5, "sweep": {"first": 20, "factor": 3, "refine": 1}}
    # Six at a time, each for 80 ms: some 75 a second.
    with SyntheticProcess(ttft=0.05, sigma=0.1, itl=0.01, running=6, retry_after=0.2) as server:
        # Whether this machine is quick enough just now is not what is asked.
        patient = ("--max-lag-ms", "5000")
        swept = ran(server.url, tmp_path, values, *patient)
        assert swept.returncode == 0, swept.stderr
        found = json.loads((tmp_path / "out" / "plain.json").read_text())
        rate = found["sweep"]["slo_rate"]
        assert 15 < rate < 75
        assert any(each["refused_share"] > 0.3 for each in found["sweep"]["points"])
        arrivals = {"process": "constant", "rate": "4x"}
        over = {**PLAIN, "tenants": [{**PLAIN["tenants"][0], "arrivals": arrivals, "retries": 1}]}
        sweep = tmp_path / "sweep.json"
        (tmp_path / "out" / "plain.json").rename(sweep)
        done = ran(server.url, tmp_path, over, "--capacity", str(sweep), *patient)
    assert done.returncode == 1, done.stderr
    found = json.loads((tmp_path / "out" / "plain.json").read_text())
    assert found["figures"]["offered_per_second"] == pytest.approx(4 * rate, rel=0.05)
    assert found["figures"]["refusals"]
    assert found["figures"]["retry_after"]["told_seconds"]["max"] == pytest.approx(0.2)
    assert found["figures"]["retry_after"]["came_back"] > 10
    bad = ran("http://127.0.0.1:9", tmp_path, over, "--capacity", str(tmp_path / "out" / "plain.json"))
    assert (bad.returncode, "is no sweep" in bad.stderr) == (2, True)


def test_results_are_compared_and_shown_again(url: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert ran(url, tmp_path, PLAIN, "--duration", "1", "--name", name).returncode == 0
    one, two = (str(tmp_path / "out" / f"{name}.json") for name in ("one", "two"))
    done = loadtest("compare", one, two)
    assert done.returncode == 0
    assert "TTFT p50 (s)" in done.stdout
    (tmp_path / "out" / "one.html").unlink()
    assert loadtest("report", one).returncode == 0
    assert (tmp_path / "out" / "one.html").exists()
    assert loadtest("compare", one, str(tmp_path / "none.json")).returncode == 2


def test_the_scenarios_are_listed() -> None:
    done = loadtest("scenarios")
    assert done.returncode == 0
    assert "one-tenant-flood" in done.stdout
