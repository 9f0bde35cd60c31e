from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from server.doctor import rocm_smi
from server.doctor.findings import Level
from server.doctor.gathering.gpus import gather_gpus, gather_links
from server.doctor.gathering.programs import NotRun, run
from server.doctor.gpus import NO_GPU, GpuFacts, check_driver, check_gpus, check_health
from server.doctor.nvidia_smi import NotReadable, read_gpus
from server.doctor.start import Hardware
from tests.unit.doctor.samples import (
    CPU_START,
    FP8_ON_8_H200,
    GIB,
    H100_MIB,
    H200_MIB,
    MISMATCH,
    NO_DRIVER,
    h200,
    rocm_json,
    smi_xml,
    topology,
)


def test_eight_h200_are_what_the_profile_is_made_for() -> None:
    facts = h200()
    assert (facts.vendor, facts.driver, facts.cuda, len(facts.gpus)) == ("nvidia", "580.95.05", "13.0", 8)
    assert (facts.gpus[7].index, facts.gpus[7].name, facts.gpus[7].memory) == (7, "NVIDIA H200", H200_MIB * 2**20)
    found = check_gpus(facts, FP8_ON_8_H200, 8)
    assert found.level is Level.OK
    assert "8 x NVIDIA H200 with 140.4 GiB" in found.what
    driver, health = check_driver(facts, 8, "13.0"), check_health(facts, 8)
    assert driver is not None
    assert driver.level is Level.OK
    assert driver.what == "NVIDIA 580.95.05, CUDA up to 13.0, enough for torch's CUDA 13.0"
    assert health is not None
    assert (health.level, health.what) == (Level.OK, "no uncorrected ECC errors, fabric set up")


def test_no_gpu_is_said_plainly_and_fails_only_a_start_that_needs_one() -> None:
    nothing = GpuFacts()
    found = check_gpus(nothing, FP8_ON_8_H200, 8)
    assert found.level is Level.FAIL
    assert found.what == f"{NO_GPU}; qwen3.5-397b-8xh200-fp8 needs 8 x H200 with 139.8 GiB"
    found = check_gpus(nothing, CPU_START, 0)
    assert (found.level, found.what) == (Level.OK, f"{NO_GPU}; this start needs none")
    assert check_driver(nothing, 0, "") is None
    assert check_health(nothing, 8) is None


@pytest.mark.parametrize("said", [NO_DRIVER, MISMATCH, "No devices were found\n", ""])
def test_a_tools_complaint_is_not_taken_for_gpus(said: str) -> None:
    with pytest.raises(NotReadable) as refused:
        read_gpus(said)
    assert str(refused.value) == (said.splitlines()[0] if said else "no output")


def test_gpus_without_a_driver_fail_with_the_tools_own_words() -> None:
    facts = GpuFacts(trouble="Failed to initialize NVML: Driver/library version mismatch", on_bus=8)
    found = check_driver(facts, 8, "13.0")
    assert found is not None
    assert found.level is Level.FAIL
    assert found.what == (
        "8 GPUs on the PCI bus, but no driver answers: Failed to initialize NVML: Driver/library version mismatch"
    )
    unused = check_driver(facts, 0, "")
    assert unused is not None
    assert unused.level is Level.OK


def test_a_driver_too_old_for_torchs_cuda_fails() -> None:
    facts = h200(driver="570.195.03", cuda="12.8")
    levels = {}
    for runtime in ("13.0", "12.8", ""):
        found = check_driver(facts, 8, runtime)
        assert found is not None
        levels[runtime] = found.level
    assert levels == {"13.0": Level.FAIL, "12.8": Level.OK, "": Level.OK}


def test_too_few_gpus_fail_and_name_the_variable_that_hides_them() -> None:
    found = check_gpus(h200(count=4), FP8_ON_8_H200, 8)
    assert found.level is Level.FAIL
    assert found.what.startswith("4 x NVIDIA H200")
    found = check_gpus(replace(h200(), visible="0,1,2,3"), FP8_ON_8_H200, 8)
    assert found.level is Level.FAIL
    assert "(8 without CUDA_VISIBLE_DEVICES=0,1,2,3)" in found.what


def test_visible_gpus_are_chosen_by_index_or_uuid_until_an_unknown_one() -> None:
    facts = h200()
    for visible, indices in {
        "2, 3": [2, 3],
        facts.gpus[5].uuid: [5],
        "GPU-1f2d": [1],
        "0,9,1": [0],
        "": [],
        "-1": [],
    }.items():
        assert [gpu.index for gpu in replace(facts, visible=visible).usable] == indices, visible


def test_wrong_memory_fails() -> None:
    found = check_gpus(h200(name="NVIDIA H100 80GB HBM3", mib=H100_MIB), FP8_ON_8_H200, 8)
    assert found.level is Level.FAIL
    assert "GPU 0 (NVIDIA H100 80GB HBM3) has 79.6 GiB" in found.what


def test_the_right_memory_on_another_gpu_warns() -> None:
    found = check_gpus(h200(name="NVIDIA B200"), FP8_ON_8_H200, 8)
    assert found.level is Level.WARN


@pytest.mark.parametrize(
    ("wanted", "name", "same"),
    [
        ("RTX-PRO-6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition", True),
        ("H100", "NVIDIA H100 80GB HBM3", True),
        ("MI300X", "AMD Instinct MI300X OAM", True),
        ("B200", "NVIDIA GB200", False),
        ("H20", "NVIDIA H200", False),
    ],
)
def test_a_profiles_word_for_a_gpu_is_found_in_its_name(wanted: str, name: str, same: bool) -> None:
    start = replace(FP8_ON_8_H200, hardware=Hardware(wanted, 100 * GIB))
    found = check_gpus(h200(name=name), start, 8)
    assert (found.level is Level.OK) is same


def test_memory_in_use_that_vllm_wants_fails() -> None:
    found = check_gpus(h200(used_mib={3: 71_000, 5: 20_000}), FP8_ON_8_H200, 8)
    assert found.level is Level.FAIL
    assert "GPU 3 has 69.3 GiB in use, vLLM wants 92% of it free (and 1 other)" in found.what
    # What a driver and a display server take is no reason.
    assert check_gpus(h200(used_mib={3: 800}), FP8_ON_8_H200, 8).level is Level.OK


def test_mig_and_mixed_gpus_warn() -> None:
    assert check_gpus(h200(mig="Enabled"), FP8_ON_8_H200, 8).level is Level.WARN
    mixed = replace(h200(), gpus=(*h200().gpus[:7], replace(h200().gpus[7], name="NVIDIA H200 NVL")))
    found = check_gpus(mixed, FP8_ON_8_H200, 8)
    assert found.level is Level.WARN
    assert "7 x NVIDIA H200 with 140.4 GiB, 1 x NVIDIA H200 NVL" in found.what


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"dram_uncorrectable": {2: "1"}}, Level.FAIL, "GPU 2: 1 uncorrected ECC error since"),
        ({"remap_pending": (1, 6)}, Level.WARN, "waits on GPU 1, 6"),
        ({"remap_failed": (4,)}, Level.FAIL, "GPU 4: a row remapping failed"),
        ({"fabric": "In Progress"}, Level.FAIL, "fabric of GPU 0 is not set up: In Progress"),
        ({"fabric": "N/A"}, Level.OK, "no uncorrected ECC errors"),
        ({"dram_uncorrectable": dict.fromkeys(range(8), "N/A")}, Level.OK, "no uncorrected ECC errors"),
    ],
)
def test_health(changes: dict[str, object], level: Level, words: str) -> None:
    found = check_health(h200(**changes), 8)
    assert found is not None
    assert found.level is level
    assert words in found.what


def test_a_sick_gpu_that_the_start_leaves_alone_does_not_matter() -> None:
    found = check_health(h200(dram_uncorrectable={7: "2"}), 4)
    assert found is not None
    assert found.level is Level.OK


def test_mi300x_from_rocm_smi() -> None:
    facts = rocm_smi.read_gpus("WARNING: AMD GPU device(s) is/are in a low-power state.\n" + rocm_json())
    assert (facts.vendor, facts.driver, len(facts.gpus)) == ("amd", "6.10.5", 8)
    start = replace(FP8_ON_8_H200, hardware=Hardware("MI300X", int(191.9 * GIB)))
    assert check_gpus(facts, start, 8).level is Level.OK
    health = check_health(facts, 8)
    assert health is not None
    assert health.what == "these GPUs count no ECC errors"
    with pytest.raises(NotReadable, match="ERROR:root:Driver not initialized"):
        rocm_smi.read_gpus("ERROR:root:Driver not initialized (amdgpu not found in modules)\n")


def a_tool(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tools at the head of PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "bin"


def a_pci_device(sys: Path, address: str, vendor: str, kind: str) -> None:
    device = sys / "bus" / "pci" / "devices" / address
    device.mkdir(parents=True)
    (device / "vendor").write_text(vendor + "\n")
    (device / "class").write_text(kind + "\n")


def test_the_tools_are_run_and_read(tools: Path, tmp_path: Path) -> None:
    (tmp_path / "gpus.xml").write_text(smi_xml())
    (tmp_path / "links").write_text(topology())
    a_tool(tools, "nvidia-smi", f'[ "$1" = topo ] && exec cat {tmp_path}/links\nexec cat {tmp_path}/gpus.xml')
    facts = gather_gpus({"CUDA_VISIBLE_DEVICES": "0,1"}, sys=tmp_path)
    assert (len(facts.gpus), len(facts.usable)) == (8, 2)
    assert len(gather_links(facts, sys=tmp_path).links) == 28


def test_a_tool_that_fails_is_quoted(tools: Path, tmp_path: Path) -> None:
    a_tool(tools, "nvidia-smi", f"echo '{NO_DRIVER.strip().replace(chr(39), chr(39) * 2)}'; exit 9")
    for number in range(2):
        a_pci_device(tmp_path, f"0000:1{number}:00.0", "0x10de", "0x030200")
    a_pci_device(tmp_path, "0000:20:00.0", "0x10de", "0x068000")  # an NVSwitch
    facts = gather_gpus({}, sys=tmp_path)
    assert (facts.on_bus, facts.gpus) == (2, ())
    assert facts.trouble.startswith("NVIDIA-SMI has failed because")


def test_an_amd_machine_is_asked_with_amds_tool(tools: Path, tmp_path: Path) -> None:
    (tmp_path / "gpus.json").write_text(rocm_json(2))
    a_tool(tools, "rocm-smi", f"exec cat {tmp_path}/gpus.json")
    a_pci_device(tmp_path, "0000:05:00.0", "0x1002", "0x120000")
    facts = gather_gpus({"HIP_VISIBLE_DEVICES": "1"}, sys=tmp_path)
    assert (facts.vendor, facts.on_bus, [gpu.index for gpu in facts.usable]) == ("amd", 1, [1])


def test_a_tool_that_hangs_costs_no_more_than_its_time(tools: Path) -> None:
    a_tool(tools, "nvidia-smi", "exec sleep 30")
    with pytest.raises(NotRun, match=r"did not answer in 0\.2 s"):
        run(("nvidia-smi",), seconds=0.2)


def test_a_tool_that_is_not_there_is_no_news_without_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("server.doctor.gathering.programs._ALSO", ())
    assert gather_gpus({}, sys=tmp_path) == GpuFacts()
    a_pci_device(tmp_path, "0000:05:00.0", "0x10de", "0x030200")
    assert gather_gpus({}, sys=tmp_path).trouble == "nvidia-smi is not installed"
