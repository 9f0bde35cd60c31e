"""GPUs as the planner sees them, and hardware written as `8xH200` or `2x8xH100`."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import Literal

GIB = 2**30

Precision = Literal["bf16", "fp8", "fp4"]
"""What a matrix multiplication computes in."""


class UnknownHardware(ValueError):
    """A GPU or a way of writing hardware that the planner does not know."""


@dataclass(frozen=True)
class Gpu:
    """One model of GPU. Rates are dense (no sparsity) and per direction, from the vendor's data sheet."""

    name: str
    device_name: str
    """As the driver calls it: vLLM chooses some defaults by it."""
    memory_bytes: int
    """All that a process sees as the device's memory, which is a little less than the data sheet's figure."""
    bandwidth: float
    """Bytes per second between memory and compute units."""
    flops: dict[Precision, float]
    """Floating-point operations per second by precision; a precision that is absent is computed in BF16."""
    link_bandwidth: float
    """Bytes per second from one GPU to the others of its node, one direction."""
    link: str
    capability: tuple[int, int]
    """CUDA compute capability; for another vendor's GPU, that of the NVIDIA one whose block sizes are the same."""
    fp8_kv: bool
    kernel_block_tokens: int = 16
    """Smallest block of the attention backend that vLLM takes on this GPU: 16 for FlashAttention 2 and 3, FlashInfer
    and AITER (`get_supported_kernel_block_sizes` of each)."""
    price_per_hour: float = 0.0
    """US dollars an hour, an assumption of ours about rented GPUs; `--price` and a profile's own win."""

    def rate(self, precision: Precision) -> float:
        """FLOP/s in `precision`, or in BF16 where the GPU has no units for it (weights are widened on the way in)."""
        return self.flops.get(precision, self.flops["bf16"])


@dataclass(frozen=True)
class Hardware:
    """`nodes` machines of `per_node` GPUs each."""

    gpu: Gpu
    per_node: int
    nodes: int = 1
    node_bandwidth: float = 50e9
    """Bytes per second from one GPU to another node, one direction: one 400 Gbit/s adapter for each GPU."""

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return self.per_node * self.nodes

    @property
    def name(self) -> str:
        """As it is written on the command line."""
        return f"{self.nodes}x{self.per_node}x{self.gpu.name}" if self.nodes > 1 else f"{self.per_node}x{self.gpu.name}"

    def sized(self, gpus: int) -> Hardware:
        """The same GPUs, `gpus` of them, in nodes of eight where there are more than eight."""
        per_node = min(gpus, 8)
        return replace(self, per_node=per_node, nodes=max(1, gpus // per_node))


# Memory as CUDA reports it on such a machine (MiB of `nvidia-smi` less what the driver keeps), good to about 0.3 GiB.
# Rates: NVIDIA's data sheets of A100, H100, H200, L40S, HGX B200 and RTX PRO 6000 Blackwell, AMD's of MI300X.
# FP8 KV: vLLM's kernels convert to and from e4m3, for which a GPU needs compute capability 8.9 or later.
# Prices: round figures near what clouds ask on demand; nothing else depends on them.
GPUS: dict[str, Gpu] = {
    gpu.name: gpu
    for gpu in (
        Gpu(
            "A100",
            "NVIDIA A100-SXM4-80GB",
            int(79.2 * GIB),
            2.039e12,
            {"bf16": 312e12},
            300e9,
            "NVLink 3",
            (8, 0),
            fp8_kv=False,
            price_per_hour=1.5,
        ),
        Gpu(
            "H100",
            "NVIDIA H100 80GB HBM3",
            int(79.2 * GIB),
            3.35e12,
            {"bf16": 989e12, "fp8": 1979e12},
            450e9,
            "NVLink 4",
            (9, 0),
            fp8_kv=True,
            price_per_hour=2.5,
        ),
        Gpu(
            "H200",
            "NVIDIA H200",
            int(139.8 * GIB),
            4.8e12,
            {"bf16": 989e12, "fp8": 1979e12},
            450e9,
            "NVLink 4",
            (9, 0),
            fp8_kv=True,
            price_per_hour=3.0,
        ),
        Gpu(
            "B200",
            "NVIDIA B200",
            int(178.3 * GIB),
            7.7e12,
            {"bf16": 2250e12, "fp8": 4500e12, "fp4": 9000e12},
            900e9,
            "NVLink 5",
            (10, 0),
            fp8_kv=True,
            price_per_hour=4.5,
        ),
        Gpu(
            "RTXPRO6000",
            "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
            int(94.9 * GIB),
            1.792e12,
            {"bf16": 500e12, "fp8": 1000e12, "fp4": 2000e12},
            64e9,
            "PCIe 5 x16",
            (12, 0),
            fp8_kv=True,
            price_per_hour=1.5,
        ),
        Gpu(
            "L40S",
            "NVIDIA L40S",
            int(44.4 * GIB),
            0.864e12,
            {"bf16": 362e12, "fp8": 733e12},
            32e9,
            "PCIe 4 x16",
            (8, 9),
            fp8_kv=True,
            price_per_hour=1.0,
        ),
        Gpu(
            "RTX4090",
            "NVIDIA GeForce RTX 4090",
            int(23.5 * GIB),
            1.008e12,
            {"bf16": 165e12, "fp8": 330e12},
            32e9,
            "PCIe 4 x16",
            (8, 9),
            fp8_kv=True,
            price_per_hour=0.4,
        ),
        Gpu(
            "MI300X",
            "AMD Instinct MI300X",
            int(191.9 * GIB),
            5.3e12,
            {"bf16": 1307e12, "fp8": 2615e12},
            448e9,
            "Infinity Fabric",
            (9, 0),
            fp8_kv=True,
            price_per_hour=2.5,
        ),
    )
}


def gpu(name: str) -> Gpu:
    """The GPU called `name`, whatever its case and separators. Raises UnknownHardware that suggests near names."""
    wanted = re.sub(r"[^A-Z0-9]", "", name.upper())
    for known in GPUS.values():
        if wanted == known.name:
            return known
    near = difflib.get_close_matches(wanted, GPUS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UnknownHardware(f"there is no GPU {name!r}; {hint}known: {', '.join(GPUS)}")


def hardware(text: str) -> Hardware:
    """Hardware written `H200`, `8xH200` or, for more than one node, `2x8xH100`. Raises UnknownHardware."""
    match = re.fullmatch(r"(?:([1-9]\d*)x)?(?:([1-9]\d*)x)?([A-Za-z][\w -]*)", text.strip())
    if match is None:
        raise UnknownHardware(f"{text!r} is not hardware: write 8xH200, or 2x8xH100 for two nodes of eight")
    first, second, name = match.groups()
    if second is None:
        return Hardware(gpu(name), int(first or 1))
    return Hardware(gpu(name), int(second), int(first))
