"""The GPUs of this machine and their links, from the vendors' own tools and the kernel's files."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from server.doctor import nvidia_smi, rocm_smi
from server.doctor.gathering.programs import NotRun, run
from server.doctor.gpus import GpuFacts
from server.doctor.topology import LinkFacts

_NVIDIA, _AMD = "0x10de", "0x1002"
# PCI classes of what computes: VGA and 3D controllers, and "processing accelerators", which AMD's are.
_CLASSES = ("0x0300", "0x0302", "0x0380", "0x1200")

_NVIDIA_GPUS = ("nvidia-smi", "-q", "-x")
_NVIDIA_LINKS = ("nvidia-smi", "topo", "-m")
_AMD_GPUS = ("rocm-smi", "--showproductname", "--showmeminfo", "vram", "--showdriverversion", "--json")
_AMD_LINKS = ("rocm-smi", "--showtopotype", "--json")


def gather_gpus(environment: Mapping[str, str], sys: Path = Path("/sys")) -> GpuFacts:
    """NVIDIA's GPUs, else AMD's, else none with the reason."""
    nvidia = _asked("nvidia", _NVIDIA_GPUS, nvidia_smi.read_gpus, _on_bus(sys, _NVIDIA))
    if nvidia.gpus or nvidia.on_bus:
        return replace(nvidia, visible=environment.get("CUDA_VISIBLE_DEVICES"))
    amd = _asked("amd", _AMD_GPUS, rocm_smi.read_gpus, _on_bus(sys, _AMD))
    if amd.gpus or amd.on_bus:
        visible = environment.get("HIP_VISIBLE_DEVICES", environment.get("CUDA_VISIBLE_DEVICES"))
        return replace(amd, visible=visible)
    # A tool without a GPU says something worth telling; a tool that is not there does not.
    return nvidia if nvidia.trouble else amd


def gather_links(gpus: GpuFacts, sys: Path = Path("/sys")) -> LinkFacts:
    """The links between the GPUs that were found, and what NCCL could use between nodes."""
    infiniband = tuple(sorted(path.name for path in (sys / "class" / "infiniband").glob("*")))
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    facts = LinkFacts(infiniband=infiniband, locked_memory=None if soft == resource.RLIM_INFINITY else soft)
    if len(gpus.gpus) < 2:
        return facts
    try:
        if gpus.vendor == "amd":
            return replace(facts, links=rocm_smi.read_links(run(_AMD_LINKS)))
        return replace(facts, links=nvidia_smi.read_links(run(_NVIDIA_LINKS)))
    except (NotRun, nvidia_smi.NotReadable) as error:
        return replace(facts, trouble=str(error))


def _asked(vendor: str, command: tuple[str, ...], read: Callable[[str], GpuFacts], on_bus: int) -> GpuFacts:
    try:
        return replace(read(run(command)), on_bus=on_bus)
    except (NotRun, nvidia_smi.NotReadable) as error:
        absent = str(error).endswith("is not installed") and not on_bus
        return GpuFacts(vendor="", trouble="" if absent else str(error), on_bus=on_bus)


def _on_bus(sys: Path, vendor: str) -> int:
    count = 0
    for device in (sys / "bus" / "pci" / "devices").glob("*"):
        try:
            same = (device / "vendor").read_text().strip() == vendor
            count += same and (device / "class").read_text().startswith(_CLASSES)
        except OSError:
            continue
    return count
