"""/dev/shm, through which an engine's processes pass batches and results."""

from __future__ import annotations

from dataclasses import dataclass

from server.doctor.findings import Check, Finding, counted, shown
from server.doctor.start import Start

SHARED_MEMORY = Check(
    "shared memory",
    "Machine",
    "free space in /dev/shm, against the queues between the processes of tensor parallelism, NCCL and the media cache",
    warns="not enough for all of them full at once",
    fails="not enough for the largest: vLLM refuses to start",
)

# vLLM 0.32, distributed/device_communicators/shm_broadcast.py: a queue has 10 chunks. That of an engine to its workers
# has chunks of VLLM_MQ_MAX_CHUNK_BYTES_MB, each worker's own for its results 24 MiB (multiproc_executor.py), and a
# tensor-parallel group's 6 of 4 MiB (parallel_state.py). Each must be free when it is made. On a GPU a single worker
# runs within its engine and needs none; on a CPU it is a process too (platforms/cpu.py).
CHUNKS = 10
CHUNK_VARIABLE = "VLLM_MQ_MAX_CHUNK_BYTES_MB"
CHUNK_MIB = 16
ANSWER_CHUNK = 24 * 2**20
GROUP_QUEUE = 6 * 2**22

# What NCCL's guide to troubleshooting gives a container: --shm-size=1g.
_NCCL = 2**30


@dataclass(frozen=True, slots=True)
class SharedMemoryFacts:
    """Bytes of the file system at /dev/shm; both 0 where there is none."""

    total: int
    free: int


def needed_bytes(start: Start, needed_gpus: int) -> int:
    """Bytes that the processes of this start may fill in /dev/shm."""
    return sum(_parts(start, needed_gpus))


def check_shared_memory(facts: SharedMemoryFacts, start: Start, needed_gpus: int) -> Finding:
    """The line of /dev/shm."""
    parts = _parts(start, needed_gpus)
    wanted, largest = sum(parts), max(parts, default=0)
    told = f"{shown(facts.free)} free of {shown(facts.total)} in /dev/shm"
    if not wanted:
        return SHARED_MEMORY.ok(f"{told}; one worker needs none")
    told += f"; {counted(start.workers, 'worker')} may take {shown(wanted)}"
    gib = -(-wanted // 2**30) + 1
    todo = (
        f"`docker run --shm-size={gib}g` (or --ipc=host); in Kubernetes an emptyDir with `medium: Memory` at /dev/shm; "
        f"else `mount -o remount,size={gib}g /dev/shm`"
    )
    if facts.free < largest:
        return SHARED_MEMORY.fail(f"{told}, {shown(largest)} of it at once", todo)
    if facts.free < wanted:
        return SHARED_MEMORY.warn(told, todo)
    return SHARED_MEMORY.ok(told)


def _parts(start: Start, needed_gpus: int) -> list[int]:
    """The pieces, each of which must find its room at once."""
    parts: list[int] = []
    if start.workers_of_an_engine > 1 or not needed_gpus:
        chunk = int(start.environment.get(CHUNK_VARIABLE, CHUNK_MIB)) * 2**20
        parts += [CHUNKS * chunk] * start.engines + [CHUNKS * ANSWER_CHUNK] * start.workers
    if start.workers_of_an_engine > 1:
        parts += [GROUP_QUEUE] * start.engines
    if needed_gpus > 1:
        parts.append(_NCCL)
    if start.media_cache_in_shared_memory:
        parts.append(start.media_cache_in_shared_memory)
    return parts
