"""The machine's memory, as far as this process may use it."""

from __future__ import annotations

from dataclasses import dataclass

from server.doctor.findings import Check, Finding, counted, shown
from server.doctor.shared_memory import needed_bytes
from server.doctor.start import Start

MEMORY = Check(
    "memory",
    "Machine",
    "memory that is free, within the cgroup's limit",
    warns="less free than the start is expected to take",
    fails="the CPU build, and the whole machine has less than weights, KV cache and processes take",
)

# Round figures. A worker on a GPU holds the CUDA context, Python's modules and pinned buffers; there was no GPU to
# measure it on. On a CPU the daemon, its engine and the engine's worker were seen at 0.6 to 0.7 GiB each, without
# weights and KV cache.
_GPU_WORKER = 5 * 2**30
_PROCESS = 2**30


@dataclass(frozen=True, slots=True)
class MemoryFacts:
    """Bytes; `limit` and `used` are the cgroup's, without the cache that it would give back; None where it has none."""

    total: int
    available: int
    limit: int | None = None
    used: int | None = None

    @property
    def most(self) -> int:
        """All that this process could ever have."""
        return self.total if self.limit is None else min(self.total, self.limit)

    @property
    def free(self) -> int:
        """What it can have now."""
        if self.limit is None:
            return self.available
        return max(0, min(self.available, self.limit - (self.used or 0)))


def check_memory(facts: MemoryFacts, start: Start, needed_gpus: int, weights: int) -> Finding:
    """The line of the memory; `weights` is their size in bytes, 0 where it is not known."""
    limited = facts.limit is not None and facts.limit < facts.total
    told = f"{shown(facts.free)} free of {shown(facts.most)}" + (" that the cgroup allows" if limited else "")
    shared = needed_bytes(start, needed_gpus)
    if needed_gpus:
        wanted = _PROCESS * (1 + start.engines) + _GPU_WORKER * needed_gpus + shared
        what = f"{counted(needed_gpus, 'GPU worker')} and shared memory"
    else:
        wanted = _PROCESS * (1 + start.engines + start.workers) + weights + (start.kv_cache_bytes or 0) + shared
        what = "weights, KV cache and processes" if weights else "KV cache and processes (weights not known)"
    told += f"; {what} take some {shown(wanted)}"
    todo = "raise the limit (`--memory`, resources.limits.memory)" if limited else "end other programs, or add memory"
    if not needed_gpus and facts.most < wanted:
        return MEMORY.fail(told, f"{todo}; a smaller model or engine.kv_cache_memory_bytes takes less")
    if facts.free < wanted:
        return MEMORY.warn(told, f"{todo}: a process that the kernel ends for memory ends the daemon")
    return MEMORY.ok(told)
