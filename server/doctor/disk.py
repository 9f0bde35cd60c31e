"""Disk: room for weights that are still to come, and a place where compiled kernels outlive a restart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from server.doctor.findings import Check, Finding, shown
from server.doctor.start import Start

DISK = Check(
    "disk for weights",
    "Weights",
    "free space where the hub's cache is, against what is still to be downloaded",
    warns="weights are still to come and nobody knows how large they are",
    fails="less free than what is still to come, or the folder cannot be written",
)
KERNEL_CACHE = Check(
    "kernel cache",
    "Weights",
    "the folder of torch.compile and CUDA graph caches (VLLM_CACHE_ROOT): writable, room, kept by a restart",
    warns="it is lost with the container or in memory: every start compiles anew, for minutes; or little room",
    fails="it cannot be written",
)

# A round figure for compiled graphs, autotuning results and Triton's kernels of a few models.
_KERNEL_ROOM = 5 * 2**30
_MARGIN = 1.02
_LOST = {"overlay": "a container's own layer", "tmpfs": "memory", "ramfs": "memory"}


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """A folder, or the nearest one above it that exists: free bytes, kind of its file system, whether we may write."""

    folder: Path
    free: int
    kind: str = ""
    writable: bool = True


def check_disk(facts: DiskFacts, *, complete: bool, missing: int | None) -> Finding:
    """The line of the hub cache's disk; `missing` are the bytes still to be downloaded, None if that is not known."""
    told = f"{shown(facts.free)} free at {facts.folder}"
    if complete or missing == 0:
        return DISK.ok(f"{told}; the weights are there")
    if not facts.writable:
        return DISK.fail(f"{facts.folder} cannot be written", "make it writable, or set HF_HOME to a folder that is")
    if missing is None:
        return DISK.warn(f"{told}; how much is still to come is not known", "see the model's page for its size")
    told += f"; {shown(missing)} still to come"
    if facts.free < missing * _MARGIN:
        return DISK.fail(told, "make room, or set HF_HOME to a larger disk")
    return DISK.ok(told)


def check_kernel_cache(facts: DiskFacts, start: Start, *, in_container: bool) -> Finding:
    """The line of the folder of compiled kernels."""
    if start.eager:
        return KERNEL_CACHE.ok("not used: engine.enforce_eager")
    told = f"{facts.folder}, {shown(facts.free)} free"
    todo = "set VLLM_CACHE_ROOT to a folder on a disk that stays, such as a volume"
    if not facts.writable:
        return KERNEL_CACHE.fail(f"{facts.folder} cannot be written", todo)
    if facts.kind in _LOST and (in_container or facts.kind != "overlay"):
        return KERNEL_CACHE.warn(f"{told}, in {_LOST[facts.kind]}", f"{todo}: each start compiles for minutes")
    if facts.free < _KERNEL_ROOM:
        return KERNEL_CACHE.warn(f"{told}, {shown(_KERNEL_ROOM)} wanted", f"make room, or {todo}")
    return KERNEL_CACHE.ok(told)
