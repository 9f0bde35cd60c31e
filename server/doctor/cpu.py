"""The processor: what instructions it has, and how many cores this process may use."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from server.doctor.findings import Check, Finding, counted
from server.doctor.start import Start

CPU = Check(
    "CPU",
    "Machine",
    "cores that this process may use (affinity and cgroup), AVX2, AVX-512, AMX",
    warns="fewer cores than 2 and one a GPU; no AVX-512 for the CPU build",
    fails="no AVX2 on x86; the CPU build with an FP8 KV cache and neither AVX-512 nor AMX",
)

# vLLM's optimization guide, "CPU Resources for GPU Deployments": one core for the front end, one for each engine, one
# for each GPU's worker; these busy-wait, so that fewer make every step late.
_FRONT_END_CORES = 1


@dataclass(frozen=True, slots=True)
class CpuFacts:
    """`usable` counts logical CPUs of this process's affinity; `quota` is the cgroup's, in CPUs, None for none."""

    model: str
    architecture: str
    flags: Set[str]
    usable: int
    quota: float | None = None
    sockets: int = 1

    @property
    def cores(self) -> float:
        """How many CPUs' time this process may take."""
        return self.usable if self.quota is None else min(self.usable, self.quota)


def check_cpu(facts: CpuFacts, start: Start, needed_gpus: int) -> Finding:
    """The processor's line."""
    instructions = [
        name
        for name, flag in (("AVX2", "avx2"), ("AVX-512", "avx512f"), ("bf16", "avx512_bf16"), ("AMX", "amx_tile"))
        if flag in facts.flags
    ]
    told = f"{facts.model}, {counted(facts.usable, 'CPU')}"
    if facts.quota is not None and facts.quota < facts.usable:
        told += f" of which the cgroup lets {facts.quota:g} run"
    if facts.sockets > 1:
        told += f" on {facts.sockets} sockets"
    told += f", {' '.join(instructions)}" if instructions else ""
    x86 = facts.architecture == "x86_64"
    if x86 and "avx2" not in facts.flags:
        return CPU.fail(
            f"{told}: no AVX2",
            "vLLM needs it; a virtual machine may hide it: give it the host's CPU model (`-cpu host`)",
        )
    if needed_gpus:
        wanted = _FRONT_END_CORES + start.engines + needed_gpus
        if facts.cores < wanted:
            return CPU.warn(
                f"{told}: {wanted} wanted for {counted(needed_gpus, 'GPU')}",
                "give it more: the processes that feed the GPUs would take turns, and every step is late "
                "(`--cpus`, or a CPU request and limit in Kubernetes)",
            )
        return CPU.ok(told)
    wide = bool({"avx512f", "amx_tile"} & facts.flags)
    if x86 and start.fp8_kv and not wide:
        return CPU.fail(
            f"{told}: an FP8 KV cache needs AVX-512 or AMX on a CPU", "leave engine.kv_cache_dtype out, or use bfloat16"
        )
    if x86 and not wide:
        return CPU.warn(f"{told}: no AVX-512", "it works, slowly; a newer CPU computes bfloat16 several times faster")
    return CPU.ok(told)
