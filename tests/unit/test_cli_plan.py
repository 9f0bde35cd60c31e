"""`qwend plan` from the command line; formulas answer in vLLM's place but in the last test."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import server.cli_plan
from server.cli import app
from server.profile_files import profiles
from server.settings import load
from tests.unit.planning.formulas import formula_layout

ROOT = Path(__file__).parents[2]
RUNNER = CliRunner()
MODEL = ("--model", "qwen3.5-397b-a17b")


@pytest.fixture(autouse=True)
def _formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def layouts() -> Iterator[Any]:
        yield formula_layout

    monkeypatch.setattr(server.cli_plan, "layouts", layouts)


def plan(*arguments: str) -> Result:
    return RUNNER.invoke(app, ["plan", *arguments])


def as_json(*arguments: str) -> dict[str, Any]:
    return json.loads(plan(*arguments, "--json").stdout)


GPU_PROFILES = sorted(name for name in profiles() if load(name).hardware.gpu is not None)


@pytest.mark.parametrize("profile", GPU_PROFILES)
def test_every_profile_for_gpus_fits_its_hardware(profile: str) -> None:
    result = plan("--profile", profile)
    assert result.exit_code == 0, result.output
    assert "Requests that fit at once" in result.output


def test_a_profile_for_a_cpu_has_no_plan() -> None:
    result = plan("--profile", "reference-cpu")
    assert result.exit_code == 2
    assert "a plan is of GPUs" in result.output


def test_json_has_what_the_table_has() -> None:
    found = as_json("--profile", "qwen3.5-397b-8xh200-fp8")
    assert found["fits"] is True
    assert found["parameters"] == 403_397_928_944
    assert found["deployment"]["data_parallel"] == 8
    memory = found["memory_per_gpu"]
    assert memory["weights"]["total"] + memory["reserve"]["total"] + memory["kv_cache"] == memory["usable"]
    assert found["kv_cache"]["kv_bytes_per_token"] == 15_360
    assert [room["name"] for room in found["requests_at_once"]] == ["short chat", "8K", "32K", "128K", "256K", "1M"]
    assert found["cost_per_million_tokens"]["output"] > found["cost_per_million_tokens"]["input"] > 0


def test_flags_win_over_the_profile() -> None:
    found = as_json("--profile", "qwen3.5-397b-8xh200-fp8", "--context", "128K", "--kv-cache-dtype", "bf16")
    assert (found["deployment"]["context"], found["deployment"]["kv_dtype"]) == (131_072, "bf16")
    assert found["kv_cache"]["kv_bytes_per_token"] == 30_720


def test_hardware_and_model_are_enough() -> None:
    found = as_json("--hardware", "8xH200", "--model", "Qwen/Qwen3.5-397B-A17B-FP8")
    deployment = found["deployment"]
    assert (deployment["weights"], deployment["tensor_parallel"], deployment["context"]) == ("fp8", 8, 262_144)


def test_a_folder_is_a_model(tmp_path: Path) -> None:
    config = json.loads((ROOT / "config" / "models" / "qwen3.5-35b-a3b" / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "fp8"}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found = as_json("--hardware", "H100", "--model", str(tmp_path))
    assert found["deployment"]["weights"] == "fp8"
    assert 35e9 < found["parameters"] < 37e9
    assert found["hosted_prices"] == [], "those known are of another model"


REFUSED = [
    (("--hardware", "8xH100", *MODEL, "--weights", "bf16"), "the bf16 weights take 92.6 GiB", "fp8 weights on 8xH100"),
    (
        ("--hardware", "8xH200", *MODEL, "--weights", "fp8", "--context", "1M"),
        "a context of 1,010,000 tokens is beyond the 262,144 positions",
        "YaRN with factor 4",
    ),
    (
        ("--hardware", "8xA100", *MODEL, "--weights", "fp8", "--kv-cache-dtype", "fp8"),
        "an FP8 KV cache needs a GPU",
        "a BF16 KV cache",
    ),
    (
        ("--profile", "qwen3.5-397b-8xh200-fp8-1m", "--yarn", "1"),
        "a context of 1,010,000 tokens is beyond the 262,144 positions",
        "YaRN with factor 4",
    ),
    (("--profile", "qwen3.5-397b-8xh200-bf16", "--hardware", "8xH100"), "the bf16 weights", "fp8 weights on 8xH100"),
]


@pytest.mark.parametrize(("arguments", "reason", "nearest"), REFUSED, ids=lambda each: str(each)[:40])
def test_what_does_not_fit_is_refused_with_reason_and_nearest(
    arguments: tuple[str, ...], reason: str, nearest: str
) -> None:
    result = plan(*arguments)
    assert result.exit_code == 1
    assert reason in result.output.replace("\n", " ")
    assert nearest in result.output
    found = as_json(*arguments)
    assert found["fits"] is False
    assert any(reason in each for each in found["problems"])
    assert any(nearest in each["change"] for each in found["nearest"])
    assert found["cost_per_million_tokens"] is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give --profile, or --hardware and --model"),
        (("--hardware", "8xH200"), "give --profile, or --hardware and --model"),
        (("--hardware", "8xH20", *MODEL), "did you mean H200"),
        (("--hardware", "8xH200", "--model", "qwen9"), "there is no model 'qwen9'"),
        (("--hardware", "8xH200", *MODEL, "--weights", "fp7"), "'fp7' is none of bf16, fp8, nvfp4, int4"),
        (("--hardware", "8xH200", *MODEL, "--context", "long"), "'long' is no number of tokens"),
        (("--hardware", "8xH200", *MODEL, "--tensor-parallel", "16"), "needs 16 GPUs"),
        (("--hardware", "7xH200", *MODEL), "does not divide the model's 32 attention heads"),
        (("--profile", "qwen3.5-397b-8xh200-fp9"), "there is no profile"),
        (("--hardware", "8xH200", *MODEL, "--tensor-parallel", "0"), "Invalid value"),
        (("--hardware", "8xH200", *MODEL, "--gpu-memory-utilization", "1.5"), "is a part of the memory"),
    ],
)
def test_flags_that_mean_nothing_are_refused(arguments: tuple[str, ...], says: str) -> None:
    result = plan(*arguments)
    assert result.exit_code == 2
    assert says in result.output


def test_more_load_than_it_can_carry_is_said() -> None:
    result = plan("--profile", "qwen3.5-397b-8xh200-fp8", "--requests-per-second", "1000")
    assert result.exit_code == 0
    assert "more than it can carry" in result.output


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name, arguments in (
        ("fits", ("--profile", "qwen3.5-397b-8xh200-fp8")),
        ("not", ("--hardware", "8xH100", *MODEL, "--weights", "bf16")),
        ("dense", ("--hardware", "H100", "--model", "qwen3.5-9b")),
    ):
        plan(*arguments, "--plot", str(tmp_path / f"{name}.png"))
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_without_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = plan("--profile", "qwen3.5-397b-8xh200-fp8", "--plot", str(tmp_path / "plan.png"))
    assert result.exit_code == 2
    assert "--plot needs matplotlib" in result.output


def planning_docs() -> Any:
    spec = importlib.util.spec_from_file_location("planning_docs", ROOT / "scripts" / "planning_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_document_shows_what_is_printed_and_measured() -> None:
    docs = planning_docs()
    written = docs.TARGET.read_text(encoding="utf-8")
    result = plan(*docs.COMMAND[1:])
    assert written == docs.with_plan(written, result.output), "run: python scripts/planning_docs.py"
    assert written == docs.with_measurements(written), "run: python scripts/planning_docs.py"
    assert docs.PICTURE.exists()


def test_a_plan_takes_less_than_half_a_minute_and_prints_nothing_else() -> None:
    command = [sys.executable, "-m", "server.cli", "plan", "--profile", "qwen3.5-397b-8xh200-fp8", "--json"]
    began = time.monotonic()
    cpu = os.times()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=280)
    spent = os.times().children_user + os.times().children_system - cpu.children_user - cpu.children_system
    # Time of its own, since the machine may be busy with other tests.
    assert spent < 30, f"{spent:.1f} s of CPU, {time.monotonic() - began:.1f} s in all"
    found = json.loads(done.stdout)
    assert found["kv_cache"]["block_tokens"] == 4176
    assert found["kv_cache"]["block_bytes"] == 64_143_360
