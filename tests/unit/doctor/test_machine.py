from __future__ import annotations

import ast
import importlib.util
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from server.doctor.clock import ClockFacts, check_clock
from server.doctor.cpu import CpuFacts, check_cpu
from server.doctor.disk import DiskFacts, check_disk, check_kernel_cache
from server.doctor.file_descriptors import FileFacts, check_files
from server.doctor.findings import Level, counted, shown
from server.doctor.gathering.machine import (
    gather_clock,
    gather_cpu,
    gather_disk,
    gather_files,
    gather_memory,
    in_container,
    kernel_cache_folder,
)
from server.doctor.memory import MemoryFacts, check_memory
from server.doctor.shared_memory import (
    ANSWER_CHUNK,
    CHUNK_MIB,
    CHUNKS,
    GROUP_QUEUE,
    SharedMemoryFacts,
    check_shared_memory,
    needed_bytes,
)
from server.doctor.start import GPU_MEMORY_UTILIZATION
from tests.unit.doctor.samples import CPU_START, FP8_ON_8_H200, GIB

MIB = 2**20
WIDE = frozenset({"avx2", "avx512f", "avx512_bf16"})
XEON = CpuFacts("Xeon", "x86_64", WIDE | {"amx_tile"}, usable=64, sockets=2)


def test_sizes_and_counts_for_people() -> None:
    assert [shown(size) for size in (0, 1023, 64 * MIB, 143771 * MIB, 5 * 1024 * GIB)] == [
        "0 B",
        "1023 B",
        "64 MiB",
        "140.4 GiB",
        "5 TiB",
    ]
    assert [counted(number, "shard") for number in (1, 94)] == ["1 shard", "94 shards"]


# /dev/shm


def test_dockers_64_mib_of_shared_memory_fail_tensor_parallelism() -> None:
    found = check_shared_memory(SharedMemoryFacts(64 * MIB, 64 * MIB), FP8_ON_8_H200, 8)
    assert found.level is Level.FAIL
    assert found.what == "64 MiB free of 64 MiB in /dev/shm; 8 workers may take 3.1 GiB, 1 GiB of it at once"
    assert "--shm-size=5g" in found.todo
    # Enough for each piece, and not for all.
    assert check_shared_memory(SharedMemoryFacts(2 * GIB, 2 * GIB), FP8_ON_8_H200, 8).level is Level.WARN
    assert check_shared_memory(SharedMemoryFacts(8 * GIB, 7 * GIB), FP8_ON_8_H200, 8).level is Level.OK
    # One worker on a GPU runs within its engine; on a CPU it does not.
    alone = replace(FP8_ON_8_H200, tensor_parallel=1)
    assert check_shared_memory(SharedMemoryFacts(64 * MIB, 64 * MIB), alone, 1).level is Level.OK
    assert check_shared_memory(SharedMemoryFacts(64 * MIB, 64 * MIB), CPU_START, 0).level is Level.FAIL


def test_what_shared_memory_is_needed() -> None:
    pieces = 160 * MIB + 24 * MIB + 8 * 240 * MIB
    assert needed_bytes(FP8_ON_8_H200, 8) == pieces + GIB
    larger = replace(FP8_ON_8_H200, environment={"VLLM_MQ_MAX_CHUNK_BYTES_MB": "32"})
    assert needed_bytes(larger, 8) == pieces + 160 * MIB + GIB
    # Data parallel: eight engines of one worker each have no queue to workers.
    data_parallel = replace(FP8_ON_8_H200, tensor_parallel=1, data_parallel=8)
    assert needed_bytes(data_parallel, 8) == GIB
    assert needed_bytes(replace(data_parallel, media_cache_in_shared_memory=4 * GIB), 8) == 5 * GIB
    # As seen in /dev/shm of the reference checkpoint's daemon: 251,658,260 and 167,772,180 bytes with their flags.
    assert needed_bytes(CPU_START, 0) == 240 * MIB + 160 * MIB


def test_the_sizes_of_the_queues_are_vllms_own() -> None:
    folder = Path(importlib.util.find_spec("vllm").submodule_search_locations[0])

    def source(name: str) -> str:
        return (folder / name).read_text()

    queue = next(
        node
        for node in ast.walk(ast.parse(source("distributed/device_communicators/shm_broadcast.py")))
        if isinstance(node, ast.ClassDef) and node.name == "MessageQueue"
    )
    init = next(node for node in queue.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    names = [argument.arg for argument in init.args.args[-len(init.args.defaults) :]]
    defaults = dict(zip(names, (eval(ast.unparse(each)) for each in init.args.defaults), strict=True))
    assert (defaults["max_chunk_bytes"], defaults["max_chunks"]) == (ANSWER_CHUNK, CHUNKS)
    assert f'os.getenv("VLLM_MQ_MAX_CHUNK_BYTES_MB", "{CHUNK_MIB}")' in source("envs.py")
    assert "self.worker_response_mq = MessageQueue(1, 1)" in source("v1/executor/multiproc_executor.py")
    assert "self.cpu_group, 1 << 22, 6" in source("distributed/parallel_state.py")
    assert 'parallel_config.distributed_executor_backend = "mp"' in source("platforms/cpu.py")
    assert GROUP_QUEUE == 6 * (1 << 22)
    assert f"gpu_memory_utilization: float = Field(default={GPU_MEMORY_UTILIZATION}" in source("config/cache.py")


# Open files


def test_few_open_files_warn_and_very_few_fail() -> None:
    start = replace(CPU_START, connections=2304)
    found = check_files(FileFacts(1024, 524288), start)
    assert (found.level, found.what) == (Level.WARN, "1,024 (hard limit 524,288), 2,816 wanted")
    assert found.todo.startswith("`ulimit -n 65536` before the start")
    assert check_files(FileFacts(1024, 2048), start).todo.startswith("raise the hard limit to 65536")
    assert check_files(FileFacts(256, 256), start).level is Level.FAIL
    assert check_files(FileFacts(65536, None), start).level is Level.OK
    assert check_files(FileFacts(None, None), start).level is Level.OK


def test_this_processs_limits_are_read() -> None:
    import resource

    assert gather_files().soft == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


# CPU


def test_cpu() -> None:
    def level(facts: CpuFacts, gpus: int = 0, **changes: object) -> Level:
        return check_cpu(facts, replace(CPU_START, **changes), gpus).level  # type: ignore[arg-type]

    plain = replace(XEON, flags=frozenset({"avx2"}))
    assert level(XEON) is Level.OK
    assert level(plain) is Level.WARN
    assert level(plain, fp8_kv=True) is Level.FAIL
    assert level(XEON, fp8_kv=True) is Level.OK
    assert level(replace(XEON, flags=frozenset({"sse4_2"}))) is Level.FAIL
    assert level(replace(XEON, architecture="aarch64", flags=frozenset({"asimd"}))) is Level.OK
    # One core for the front end, one an engine, one a GPU.
    assert level(replace(XEON, usable=10), 8, tensor_parallel=8) is Level.OK
    assert level(replace(XEON, usable=9), 8, tensor_parallel=8) is Level.WARN
    assert level(replace(XEON, usable=10), 8, data_parallel=8) is Level.WARN
    assert level(replace(XEON, quota=9.0), 8, tensor_parallel=8) is Level.WARN
    assert "of which the cgroup lets 1.5 run" in check_cpu(replace(XEON, quota=1.5), CPU_START, 0).what


# Memory


def test_memory() -> None:
    start = replace(CPU_START, kv_cache_bytes=4 * GIB)
    roomy = MemoryFacts(64 * GIB, 60 * GIB)
    assert check_memory(roomy, start, 0, weights=8 * GIB).level is Level.OK
    assert check_memory(MemoryFacts(64 * GIB, 10 * GIB), start, 0, weights=8 * GIB).level is Level.WARN
    assert check_memory(MemoryFacts(14 * GIB, 13 * GIB), start, 0, weights=8 * GIB).level is Level.FAIL
    limited = replace(roomy, limit=14 * GIB, used=GIB)
    found = check_memory(limited, start, 0, weights=8 * GIB)
    assert found.level is Level.FAIL
    assert found.what.startswith("13 GiB free of 14 GiB that the cgroup allows")
    assert "resources.limits.memory" in found.todo
    assert check_memory(MemoryFacts(32 * GIB, 31 * GIB), FP8_ON_8_H200, 8, weights=400 * GIB).level is Level.WARN
    assert check_memory(MemoryFacts(2048 * GIB, 2000 * GIB), FP8_ON_8_H200, 8, weights=400 * GIB).level is Level.OK


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


MEMINFO = "MemTotal:       24684096 kB\nMemFree:  1 kB\nMemAvailable:   20000000 kB\nHugePages_Total:       0\n"


def test_limits_of_cgroup_version_2_are_read_from_the_whole_path(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", MEMINFO)
    write(tmp_path, "proc/self/cgroup", "0::/kubepods/pod1/main\n")
    at = "sys/fs/cgroup/kubepods"
    write(tmp_path, f"{at}/pod1/main/memory.max", "max\n")
    write(tmp_path, f"{at}/pod1/main/cpu.max", "250000 100000\n")
    write(tmp_path, f"{at}/pod1/memory.max", f"{8 * GIB}\n")
    write(tmp_path, f"{at}/pod1/memory.current", f"{6 * GIB}\n")
    write(tmp_path, f"{at}/pod1/memory.stat", f"anon {GIB}\ninactive_file {2 * GIB}\nactive_file 0\n")
    write(tmp_path, f"{at}/pod1/cpu.max", "max 100000\n")
    assert gather_memory(tmp_path) == MemoryFacts(24684096 * 1024, 20000000 * 1024, 8 * GIB, 4 * GIB)
    assert gather_memory(tmp_path).free == 4 * GIB
    assert gather_cpu(tmp_path).quota == 2.5


def test_limits_of_cgroup_version_1_are_read_where_a_container_shows_only_the_mount(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", MEMINFO)
    write(tmp_path, "proc/self/cgroup", "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{4 * GIB}\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.usage_in_bytes", f"{GIB}\n")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert gather_memory(tmp_path).limit == 4 * GIB
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert gather_memory(tmp_path).limit is None
    write(tmp_path, "proc/self/cgroup", "5:memory:/docker/abc\n3:cpu:/docker/abc\n0::/\n")
    assert gather_cpu(tmp_path).quota == 1.5
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    assert gather_cpu(tmp_path).quota is None


def test_a_processor_is_described(tmp_path: Path) -> None:
    one = "processor\t: {0}\nmodel name\t: EPYC 9654\nphysical id\t: {0}\nflags\t\t: fpu avx2 avx512f\n\n"
    write(tmp_path, "proc/cpuinfo", one.format(0) + one.format(1))
    facts = gather_cpu(tmp_path)
    assert (facts.model, facts.sockets, facts.usable) == ("EPYC 9654", 2, len(os.sched_getaffinity(0)))
    assert facts.flags == {"fpu", "avx2", "avx512f"}


# Clock


def test_clock() -> None:
    now = 1_800_000_000.0

    def level(ahead: float | None = None, nodes: int = 1, **facts: object) -> Level:
        made = ClockFacts(**{"now": now, "installed": now - 1000, **facts})  # type: ignore[arg-type]
        return check_clock(made, replace(CPU_START, nodes=nodes), ahead).level

    assert level(synchronised=True) is Level.OK
    assert level(installed=now + 30 * 86400) is Level.FAIL
    assert level(ahead=5.0) is Level.OK
    assert level(ahead=-300.0) is Level.WARN
    assert level(ahead=86400.0) is Level.FAIL
    assert level(synchronised=False) is Level.OK
    assert level(synchronised=False, nodes=2) is Level.WARN
    here = gather_clock()
    assert here.now == pytest.approx(time.time(), abs=5)
    assert 0 < here.installed <= here.now


# Disk


def test_disk() -> None:
    disk = DiskFacts(Path("/cache"), free=400 * GIB)
    assert check_disk(disk, complete=True, missing=None).level is Level.OK
    assert check_disk(disk, complete=False, missing=None).level is Level.WARN
    assert check_disk(disk, complete=False, missing=406 * 10**9).level is Level.OK
    found = check_disk(disk, complete=False, missing=807 * 10**9)
    assert (found.level, found.what) == (Level.FAIL, "400 GiB free at /cache; 751.6 GiB still to come")
    assert check_disk(replace(disk, writable=False), complete=False, missing=1).level is Level.FAIL


def test_the_cache_of_compiled_kernels() -> None:
    def level(container: bool = False, eager: bool = False, **changes: object) -> Level:
        facts = replace(DiskFacts(Path("/root/.cache/vllm"), 100 * GIB, "ext4"), **changes)  # type: ignore[arg-type]
        return check_kernel_cache(facts, replace(CPU_START, eager=eager), in_container=container).level

    assert level() is Level.OK
    assert level(kind="overlay") is Level.OK
    assert level(kind="overlay", container=True) is Level.WARN
    assert level(kind="overlay", container=True, eager=True) is Level.OK
    assert level(kind="tmpfs") is Level.WARN
    assert level(free=GIB) is Level.WARN
    assert level(writable=False) is Level.FAIL


def test_a_disk_is_looked_at_where_the_folder_is_to_be(tmp_path: Path) -> None:
    write(tmp_path, "proc/mounts", f"/dev/vda / ext4 rw 0 0\nnone {tmp_path}/in\\040memory tmpfs rw 0 0\n")
    facts = gather_disk(tmp_path / "in memory" / "not" / "there", tmp_path)
    assert facts.kind == "ext4", "the folder above, since the mount's own does not exist"
    (tmp_path / "in memory").mkdir()
    facts = gather_disk(tmp_path / "in memory" / "not" / "there", tmp_path)
    assert (facts.kind, facts.folder.name) == ("tmpfs", "there")
    assert facts.free > 0


def test_where_kernels_are_kept_and_containers_known(tmp_path: Path) -> None:
    assert kernel_cache_folder({"VLLM_CACHE_ROOT": "/volume/vllm"}) == Path("/volume/vllm")
    assert kernel_cache_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/vllm")
    assert not in_container({}, tmp_path)
    assert in_container({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)
    write(tmp_path, ".dockerenv", "")
    assert in_container({}, tmp_path)


@pytest.mark.parametrize("tp", [1, 2])
def test_an_engine_and_its_workers_are_counted(tp: int) -> None:
    start = replace(CPU_START, tensor_parallel=tp, data_parallel=4, nodes=2)
    assert (start.workers, start.engines, start.workers_of_an_engine) == (2 * tp, 2, tp)
    whole = replace(CPU_START, tensor_parallel=8, pipeline_parallel=2, nodes=2)
    assert (whole.workers, whole.engines, whole.workers_of_an_engine) == (8, 1, 8)
