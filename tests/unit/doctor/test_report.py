from __future__ import annotations

import json

import pytest

from server.cli_doctor import _painted
from server.doctor.disk import DISK
from server.doctor.examination import CHECKS, Examination
from server.doctor.findings import Level
from server.doctor.gpus import GPUS
from server.doctor.report import as_json, as_table, as_text
from server.doctor.shared_memory import SHARED_MEMORY
from tests.unit.doctor.samples import CPU_START

TODO = "`docker run --shm-size=5g` (or --ipc=host); in Kubernetes an emptyDir with `medium: Memory` at /dev/shm"
FOUND = Examination(
    (
        GPUS.ok("no GPU here"),
        SHARED_MEMORY.fail("64 MiB free of 64 MiB in /dev/shm; 8 workers may take 3.1 GiB", TODO),
        DISK.warn("a" * 90, "see"),
    ),
    not_checked=CHECKS[:2],
)


def test_text_is_grouped_aligned_and_no_wider_than_the_terminal() -> None:
    text = as_text(FOUND, CPU_START, seconds=0.51, width=80)
    lines = text.splitlines()
    assert lines[0] == "qwend doctor  profile reference-cpu, model embedded"
    assert [line for line in lines if line and not line.startswith(" ")][1:4] == ["GPUs", "Machine", "Weights"]
    assert "  fail  shared memory     64 MiB free of 64 MiB in /dev/shm; 8 workers may take" in lines
    assert "                          -> `docker run --shm-size=5g` (or --ipc=host); in" in lines
    assert lines[-2:] == ["1 ok, 1 warn, 1 fail  (0.5 s)", "Nothing to check here: driver, GPUs."]
    # A word that is longer than the line stays whole, so that it can be copied.
    assert max(len(line) for line in lines if "aaa" not in line) <= 80
    assert "a" * 90 in text


def test_a_number_keeps_its_unit() -> None:
    for width in range(60, 100):
        text = as_text(
            Examination((GPUS.ok("8 x NVIDIA H200 with 140.4 GiB each, 1,123 GiB"),), ()),
            CPU_START,
            seconds=1,
            width=width,
        )
        assert not any(line.strip().startswith("GiB") for line in text.splitlines())
        assert "\N{NO-BREAK SPACE}" not in text


def test_colours_touch_levels_only() -> None:
    painted = as_text(FOUND, CPU_START, seconds=0.5, paint=lambda text, level: f"<{level}>{text}</>")
    assert "<fail>fail</>  shared memory" in painted
    assert "<None>Machine</>" in painted


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert _painted("fail", Level.FAIL).startswith("\x1b[31m")
    monkeypatch.setenv("NO_COLOR", "1")
    assert _painted("fail", Level.FAIL) == "fail"


def test_json_has_stable_names() -> None:
    values = json.loads(json.dumps(as_json(FOUND, CPU_START, seconds=0.512, version="0.1.0")))
    assert values["exit_code"] == FOUND.exit_code == 1
    assert values["counts"] == {"ok": 1, "warn": 1, "fail": 1}
    assert values["findings"][1]["check"] == "shared memory"
    assert values["findings"][1]["todo"] == TODO
    assert values["findings"][0] == {
        "check": "GPUs",
        "group": "GPUs",
        "level": "ok",
        "what": "no GPU here",
        "todo": None,
    }
    assert values["not_checked"] == ["driver", "GPUs"]


def test_only_a_fail_fails() -> None:
    assert Examination(FOUND.findings[::2], ()).exit_code == 0
    assert FOUND.count(Level.WARN) == 1


def test_the_table_has_every_check_once() -> None:
    rows = as_table(CHECKS).splitlines()
    assert len(rows) == len(CHECKS) + 2
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(row.count(" | ") == 3 for row in rows)
    groups = [check.group for check in CHECKS]
    assert groups == sorted(groups, key=list(dict.fromkeys(groups)).index), "a group stands together"
