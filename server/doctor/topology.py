"""How the GPUs reach one another: tensor and expert parallelism exchange activations at every layer of every step."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from server.doctor.findings import Check, Finding, counted, shown
from server.doctor.gpus import Gpu, GpuFacts
from server.doctor.start import Start

LINKS = Check(
    "GPU links",
    "GPUs",
    "NVLink or XGMI between every two GPUs (`nvidia-smi topo -m`, `rocm-smi --showtopotype`)",
    warns="GPUs made for NVLink that reach each other over PCIe, unequal links, or a way through another CPU socket",
)
NCCL = Check(
    "NCCL",
    "GPUs",
    "variables that switch its fast paths off; between nodes, InfiniBand and memory that may be locked",
    warns="NCCL_P2P_DISABLE, NCCL_SHM_DISABLE or NCCL_IB_DISABLE is set; several nodes without InfiniBand",
    fails="several nodes with InfiniBand and a limit on locked memory",
)

# Boards whose GPUs are sold joined by NVLink. PCIe cards of the same chips have another name ("PCIe", "NVL").
_JOINED = re.compile(r"\b(A100-SXM\S*|A800-SXM\S*|H100 80GB HBM3|H800|H20|H200|B200|B300|GB200|GB300)\b(?! (NVL|PCIe))")
_SWITCHES = ("NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE", "NCCL_IB_DISABLE")


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """The link of every two GPUs by their indices, the lesser first; `locked_memory` in bytes, None for no limit."""

    links: Mapping[tuple[int, int], str] = field(default_factory=dict)
    trouble: str = ""
    infiniband: tuple[str, ...] = ()
    locked_memory: int | None = None


def check_links(facts: LinkFacts, gpus: GpuFacts, needed: int) -> Finding | None:
    """The line of the links; None unless the start uses several GPUs that are there."""
    used = gpus.usable[:needed]
    if len(used) < 2:
        return None
    if not facts.links:
        why = facts.trouble or "its tool says nothing"
        return LINKS.warn(f"not known: {why}", "look yourself: `nvidia-smi topo -m`, or `rocm-smi --showtopotype`")
    indices = sorted(gpu.index for gpu in used)
    pairs = [(one, other) for place, one in enumerate(indices) for other in indices[place + 1 :]]
    kinds = Counter(facts.links.get(pair, "unknown") for pair in pairs)
    told = ", ".join(f"{kind} between {counted(number, 'pair')}" for kind, number in kinds.most_common())
    slow = [pair for pair in pairs if not _is_direct(facts.links.get(pair, ""))]
    if slow and _are_joined(used):
        one, other = slow[0]
        return LINKS.warn(
            f"{told}: GPU {one} and GPU {other} of a board with direct links do not use them",
            "`nvidia-smi nvlink --status` shows links that are down; a virtual machine must be given all GPUs of the "
            "board. Each step waits for the slowest link",
        )
    if any(facts.links.get(pair) == "SYS" for pair in slow):
        return LINKS.warn(
            f"{told}: SYS goes through another CPU socket",
            "choose GPUs of one socket with CUDA_VISIBLE_DEVICES, or use data parallelism across sockets",
        )
    if not slow and len(kinds) > 1:
        return LINKS.warn(f"{told}: not all the same", "`nvidia-smi nvlink --status` shows links that are down")
    return LINKS.ok(told if not slow else f"{told}; these GPUs have no direct links")


def check_nccl(facts: LinkFacts, start: Start, needed: int) -> Finding | None:
    """The line of NCCL; None unless the start uses several GPUs."""
    if needed * start.nodes < 2:
        return None
    off = [name for name in _SWITCHES if start.environment.get(name, "0") not in ("", "0")]
    if off:
        return NCCL.warn(f"{', '.join(off)} switched on", "unset them unless this machine is known to need them")
    if start.nodes == 1:
        return NCCL.ok("none of its fast paths is switched off")
    if not facts.infiniband:
        return NCCL.warn(
            f"{start.nodes} nodes and no InfiniBand or RoCE device here",
            "tensor parallelism over plain TCP is slow: keep it inside a node, with pipeline parallelism between them; "
            "give a container /dev/infiniband",
        )
    if facts.locked_memory is not None:
        devices = counted(len(facts.infiniband), "InfiniBand device")
        return NCCL.fail(
            f"{devices}, but only {shown(facts.locked_memory)} may be locked",
            "`ulimit -l unlimited`, `docker run --ulimit memlock=-1`, or LimitMEMLOCK=infinity in systemd",
        )
    return NCCL.ok(f"{counted(len(facts.infiniband), 'InfiniBand device')}: {', '.join(facts.infiniband)}")


def _is_direct(link: str) -> bool:
    return link == "XGMI" or re.fullmatch(r"NV\d+", link) is not None


def _are_joined(gpus: tuple[Gpu, ...]) -> bool:
    return all(_JOINED.search(gpu.name) or "Instinct MI" in gpu.name for gpu in gpus)
