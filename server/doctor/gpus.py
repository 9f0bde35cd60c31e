"""The GPUs: whether there are any, with a driver that works, of the kind and health that the start needs."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from server.doctor.findings import Check, Finding, counted, shown
from server.doctor.start import Start

DRIVER = Check(
    "driver",
    "GPUs",
    "the driver answers, and is new enough for the CUDA that torch was built with",
    fails="there are GPUs but no driver that answers, or one older than CUDA's minimum (580 for 13.x, 525 for 12.x)",
)
GPUS = Check(
    "GPUs",
    "GPUs",
    "number, name and memory of the visible GPUs, against the profile's hardware",
    warns="another kind of GPU than the profile's, or MIG on",
    fails="too few, too little memory, or memory in use that vLLM needs (`gpu_memory_utilization`)",
)
HEALTH = Check(
    "GPU health",
    "GPUs",
    "ECC errors since the last reset, remapped rows, state of the NVSwitch fabric",
    warns="a row remapping waits for a reset",
    fails="uncorrected ECC errors, a failed row remapping, or a fabric that is not set up",
)

# docs.nvidia.com/deploy/cuda-compatibility, minor version compatibility: the least driver by CUDA's major version.
_LEAST_DRIVER = {11: 450, 12: 525, 13: 580}

# What drivers and firmware keep for themselves: an "80 GB" H100 shows 79.6 GiB, a "141 GB" H200 140.4.
_MEMORY_TOLERANCE = 0.05

NO_GPU = "no GPU here: only what needs none was checked"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as its tool tells it; memory in bytes, None where the tool does not know."""

    index: int
    name: str
    memory: int
    memory_used: int = 0
    uuid: str = ""
    uncorrected_ecc: int | None = None
    remap_pending: bool = False
    remap_failed: bool = False
    mig: bool = False
    fabric: str = ""


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """What is known of the GPUs. `on_bus` counts those that the PCI bus shows, whether or not a driver answers."""

    vendor: Literal["nvidia", "amd", ""] = ""
    driver: str = ""
    cuda: str = ""
    gpus: tuple[Gpu, ...] = ()
    trouble: str = ""
    on_bus: int = 0
    visible: str | None = None

    @property
    def usable(self) -> tuple[Gpu, ...]:
        """The GPUs that CUDA_VISIBLE_DEVICES (or HIP's) leaves, by index or by the beginning of their UUID."""
        if self.visible is None:
            return self.gpus
        chosen: list[Gpu] = []
        for word in filter(None, (part.strip() for part in self.visible.split(","))):
            found = [
                gpu
                for gpu in self.gpus
                if (word.isdigit() and int(word) == gpu.index) or (not word.isdigit() and gpu.uuid.startswith(word))
            ]
            if not found:
                break  # CUDA stops at the first that it does not know
            chosen += found
        return tuple(chosen)


def check_driver(facts: GpuFacts, needed: int, cuda_runtime: str) -> Finding | None:
    """The driver's line; None where there is no GPU and none is needed. `cuda_runtime` is torch's, such as `13.0`."""
    if not facts.gpus:
        if not facts.on_bus and not facts.trouble:
            return None
        on_bus = f"{counted(facts.on_bus, 'GPU')} on the PCI bus, " if facts.on_bus else ""
        what = f"{on_bus}but no driver answers" + (f": {facts.trouble}" if facts.trouble else "")
        if not needed:
            return DRIVER.ok(f"{what}; this start needs none")
        return DRIVER.fail(
            what.removeprefix("but "),
            "install the vendor's driver, or reboot if it was just updated; in a container give it the GPUs: "
            "`docker run --gpus all`, in Kubernetes a limit on nvidia.com/gpu or amd.com/gpu",
        )
    tells = f"{facts.vendor.upper()} {facts.driver}" + (f", CUDA up to {facts.cuda}" if facts.cuda else "")
    least = _LEAST_DRIVER.get(_major(cuda_runtime)) if facts.vendor == "nvidia" else None
    if least is not None and _major(facts.driver) < least:
        return DRIVER.fail(
            f"{tells}, too old for torch's CUDA {cuda_runtime}", f"install a driver of version {least} or later"
        )
    return DRIVER.ok(tells + (f", enough for torch's CUDA {cuda_runtime}" if least is not None else ""))


def check_gpus(facts: GpuFacts, start: Start, needed: int) -> Finding:
    """Number, kind and free memory."""
    usable = facts.usable
    wants = _wants(start, needed)
    if not facts.gpus:
        if needed:
            return GPUS.fail(f"{NO_GPU}; {wants}", "start on the machine that the profile is made for")
        return GPUS.ok(f"{NO_GPU}; this start needs none")
    has = _told(usable)
    if len(usable) < needed:
        hidden = f" ({len(facts.gpus)} without CUDA_VISIBLE_DEVICES={facts.visible})" if facts.visible else ""
        return GPUS.fail(
            f"{has or 'none visible'}{hidden}; {wants}",
            "show the daemon more GPUs, or choose a profile for fewer: `qwend profiles`",
        )
    if not needed:
        return GPUS.ok(f"{has}; this start uses none")
    used = usable[:needed]
    if start.hardware is not None:
        small = [gpu for gpu in used if gpu.memory < start.hardware.memory * (1 - _MEMORY_TOLERANCE)]
        if small:
            return GPUS.fail(
                f"GPU {small[0].index} ({small[0].name}) has {shown(small[0].memory)}; {wants}",
                "choose a profile for these GPUs (`qwend profiles`), or see with `qwend plan` what fits them",
            )
    occupied = [gpu for gpu in used if gpu.memory - gpu.memory_used < gpu.memory * start.gpu_memory_utilization]
    if occupied:
        gpu = occupied[0]
        return GPUS.fail(
            f"{has}; GPU {gpu.index} has {shown(gpu.memory_used)} in use, vLLM wants "
            f"{start.gpu_memory_utilization:.0%} of it free" + _and_others(len(occupied) - 1),
            "end what uses it (`nvidia-smi` or `rocm-smi --showpids` lists it), or lower engine.gpu_memory_utilization",
        )
    if any(gpu.mig for gpu in used):
        return GPUS.warn(f"{has}, with MIG on", "a slice is not the whole GPU: `nvidia-smi -mig 0` switches MIG off")
    if len({gpu.name for gpu in used}) > 1:
        return GPUS.warn(f"{has}: not all the same", "the slowest sets the pace; CUDA_VISIBLE_DEVICES chooses")
    if start.hardware is not None and not _same_kind(start.hardware.gpu, used[0].name):
        return GPUS.warn(f"{has}; {wants}", "check with `qwend plan` that this profile suits these GPUs")
    return GPUS.ok(f"{has}; {wants}")


def check_health(facts: GpuFacts, needed: int) -> Finding | None:
    """What the GPUs say of their own health; None where nobody says anything."""
    used = facts.usable[: needed or None]
    if not used:
        return None
    for gpu in used:
        if gpu.fabric and gpu.fabric not in ("Completed", "N/A"):
            return HEALTH.fail(
                f"the NVSwitch fabric of GPU {gpu.index} is not set up: {gpu.fabric}",
                "CUDA would end with error 802: `systemctl start nvidia-fabricmanager`, of the driver's own version",
            )
        if gpu.remap_failed:
            return HEALTH.fail(f"GPU {gpu.index}: a row remapping failed", "have the GPU replaced")
        if gpu.uncorrected_ecc:
            return HEALTH.fail(
                f"GPU {gpu.index}: {counted(gpu.uncorrected_ecc, 'uncorrected ECC error')} since the last reset",
                f"`nvidia-smi --gpu-reset -i {gpu.index}` when nothing uses it, and watch it: wrong numbers or a dead "
                "engine follow",
            )
    waiting = [str(gpu.index) for gpu in used if gpu.remap_pending]
    if waiting:
        return HEALTH.warn(
            f"a row remapping waits on GPU {', '.join(waiting)}", "reset it (`nvidia-smi --gpu-reset`) or reboot"
        )
    known = [gpu for gpu in used if gpu.uncorrected_ecc is not None]
    if not known:
        return HEALTH.ok("these GPUs count no ECC errors")
    fabric = ", fabric set up" if any(gpu.fabric == "Completed" for gpu in used) else ""
    return HEALTH.ok(f"no uncorrected ECC errors{fabric}")


def _wants(start: Start, needed: int) -> str:
    if start.hardware is None:
        return f"this start needs {needed}"
    kind = f"{needed} x {start.hardware.gpu}"
    if start.hardware.memory:
        kind += f" with {shown(start.hardware.memory)}"
    return f"{start.profile} needs {kind}" + (f" on each of {start.nodes} nodes" if start.nodes > 1 else "")


def _told(gpus: tuple[Gpu, ...]) -> str:
    kinds = Counter((gpu.name, gpu.memory) for gpu in gpus)
    return ", ".join(f"{number} x {name} with {shown(memory)}" for (name, memory), number in kinds.items())


def _same_kind(wanted: str, name: str) -> bool:
    """Whether a profile's word for a GPU (`H200`, `RTX PRO 6000`) is in the driver's name of it."""
    plain, other = (re.sub(r"[^a-z0-9]+", " ", text.lower()) for text in (wanted, name))
    return all(word in other.split() for word in plain.split() if not re.fullmatch(r"\d+gb|nvidia|amd|sxm\d?", word))


def _and_others(number: int) -> str:
    return f" (and {counted(number, 'other')})" if number else ""


def _major(version: str) -> int:
    head = version.split(".", 1)[0]
    return int(head) if head.isdigit() else 0
