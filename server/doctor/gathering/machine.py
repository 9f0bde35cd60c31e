"""Processor, memory, limits, clock and disks, from the kernel's files. `root` is where they are, for tests."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import resource
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from server.doctor.clock import ClockFacts
from server.doctor.cpu import CpuFacts
from server.doctor.disk import DiskFacts
from server.doctor.file_descriptors import FileFacts
from server.doctor.memory import MemoryFacts
from server.doctor.shared_memory import SharedMemoryFacts

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised

# cgroup v1 writes "no limit" as a number near the largest that it can count.
_NO_LIMIT = 2**60


def gather_cpu(root: Path = Path("/")) -> CpuFacts:
    """The processor, and how much of it the affinity and the cgroup leave."""
    fields: dict[str, str] = {}
    sockets: set[str] = set()
    for line in _text(root / "proc" / "cpuinfo").splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        fields.setdefault(name, value)
        if name == "physical id":
            sockets.add(value)
    return CpuFacts(
        model=fields.get("model name") or platform.processor() or "unknown CPU",
        architecture=platform.machine(),
        flags=frozenset((fields.get("flags") or fields.get("Features") or "").split()),
        usable=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        quota=_cpu_quota(root),
        sockets=max(1, len(sockets)),
    )


def gather_memory(root: Path = Path("/")) -> MemoryFacts:
    """The machine's memory, and the least limit of the cgroups that this process is in."""
    sizes = {
        name: int(value.split()[0]) * 1024
        for name, _, value in (line.partition(":") for line in _text(root / "proc" / "meminfo").splitlines())
        if value.split()
    }
    total = sizes.get("MemTotal", 0)
    facts = MemoryFacts(total, sizes.get("MemAvailable", total))
    limited: list[tuple[int, int]] = []
    for folder in _cgroups(root, "memory"):
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        if limit is None or limit >= _NO_LIMIT:
            continue
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
        # Cache that nobody has used lately is given back before anything is refused.
        back = re.search(r"^(?:total_)?inactive_file (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
        limited.append((limit, max(0, used - int(back[1]) if back else used)))
    if not limited:
        return facts
    limit, used = min(limited, key=lambda pair: pair[0] - pair[1])
    return MemoryFacts(facts.total, facts.available, limit, used)


def gather_shared_memory(folder: Path = Path("/dev/shm")) -> SharedMemoryFacts:
    """The file system of shared memory."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return SharedMemoryFacts(0, 0)
    return SharedMemoryFacts(usage.total, usage.free)


def gather_files() -> FileFacts:
    """This process's limits on open files."""
    soft, hard = (
        None if each == resource.RLIM_INFINITY else each for each in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    return FileFacts(soft, hard)


def gather_clock() -> ClockFacts:
    """The time, and whether the kernel holds it for right."""
    return ClockFacts(time.time(), Path(__file__).stat().st_mtime, _synchronised())


def gather_disk(folder: Path, root: Path = Path("/")) -> DiskFacts:
    """The disk under `folder`, which need not exist yet."""
    at = folder.expanduser().absolute()
    while not at.exists() and at != at.parent:
        at = at.parent
    try:
        free = shutil.disk_usage(at).free
    except OSError:
        free = 0
    return DiskFacts(folder.expanduser(), free, _file_system(at, root), os.access(at, os.W_OK | os.X_OK))


def kernel_cache_folder(environment: Mapping[str, str]) -> Path:
    """Where vLLM 0.32 keeps what it compiles (vllm/envs.py, VLLM_CACHE_ROOT)."""
    cache = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(environment.get("VLLM_CACHE_ROOT") or Path(cache) / "vllm")


def in_container(environment: Mapping[str, str], root: Path = Path("/")) -> bool:
    """Whether this looks like a container: Docker's and Podman's marks, or Kubernetes' variables."""
    marks = (root / ".dockerenv", root / "run" / ".containerenv")
    return "KUBERNETES_SERVICE_HOST" in environment or any(mark.exists() for mark in marks)


def _cpu_quota(root: Path) -> float | None:
    quotas: list[float] = []
    for folder in _cgroups(root, "cpu"):
        if (text := _text(folder / "cpu.max").split()) and text[0] != "max":
            quotas.append(int(text[0]) / int(text[1]))
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota is not None and period and quota > 0:
            quotas.append(quota / period)
    return min(quotas, default=None)


def _cgroups(root: Path, controller: str) -> list[Path]:
    """The folders of this process's cgroup and of those above it, of version 2 and of version 1."""
    base = root / "sys" / "fs" / "cgroup"
    found: list[Path] = []
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top = base / "unified" if (base / "unified").is_dir() else base
        elif controller in controllers.split(","):
            top = base / controller
        else:
            continue
        # In a container the path is often the host's, of which the mount shows only the end.
        here = top / path.strip("/")
        while here != top:
            found.append(here)
            here = here.parent
        found.append(top)
    return [folder for folder in found if folder.is_dir()]


def _file_system(folder: Path, root: Path) -> str:
    """The kind of the file system that `folder` is on: the mount with the longest path above it, the last of these."""
    best, kind = -1, ""
    for line in _text(root / "proc" / "mounts").splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        mount = Path(fields[1].replace("\\040", " "))
        if folder.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), fields[2]
    return kind


def _synchronised() -> bool | None:
    try:
        # `struct timex` is 208 bytes on 64-bit Linux; `modes` 0 at its beginning changes nothing.
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else None
