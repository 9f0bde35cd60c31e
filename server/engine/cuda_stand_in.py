"""Makes this process's vLLM believe that it has GPUs of a given kind, to configure for them on a machine without.

Nothing can be computed afterwards: kernels are names without code. So call `stand_in` only in a process that does
nothing else, and before anything imports vllm.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

# Extension modules of the CUDA build, which the CPU build of the same version lacks.
_EXTENSIONS = (
    "vllm._C_stable_libtorch",
    "vllm.vllm_flash_attn._vllm_fa2_C",
    "vllm.vllm_flash_attn._vllm_fa3_C",
)
# Operator namespaces of those extensions, and of what vLLM registers itself when they are there.
_NAMESPACES = ("_C", "_moe_C", "vllm", "_vllm")


@dataclass(frozen=True)
class StandInGpus:
    """The GPUs that vLLM is to see."""

    device_name: str
    capability: tuple[int, int]
    memory_bytes: int
    count: int


_seen: list[StandInGpus] = []
"""The last of them is what vLLM sees now. Its modules keep the platform that they found when they were imported, so one
platform answers for all GPUs in turn."""


def stand_in(gpus: StandInGpus) -> None:
    """Stands in for `gpus`. May be called again with others, which then count."""
    first = not _seen
    _seen.append(gpus)
    if not first:
        return
    os.environ.update({"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "CUDA_VISIBLE_DEVICES": ""})
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from server.engine import torchvision_ops

    torchvision_ops.ensure()
    if _is_cpu_build():
        # Modules that would load CUDA kernels load the CPU's in their place, before they see another platform.
        _import_models()
        _stub_libraries()
        _become_cuda()
    else:
        _become_cuda()
        _import_models()
    _inspect_models_here()
    import torch

    torch.set_num_threads(1)
    torch.cuda.device_count = lambda: _seen[-1].count


def _is_cpu_build() -> bool:
    """Whether vLLM's CUDA extension is not there. Looked for as a file: importing it would load it."""
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    return not list(Path(spec.origin).parent.glob("_C_stable_libtorch.*"))


def _import_models() -> None:
    """Everything that configuring for this family needs."""
    import vllm.engine.arg_utils
    import vllm.model_executor.models.qwen3_5
    import vllm.model_executor.models.qwen3_5_mtp
    import vllm.v1.core.kv_cache_utils  # noqa: F401


def _stub_libraries() -> None:
    """What the CUDA build's libraries would have registered answers by name alone."""
    import torch._ops

    for name in _EXTENSIONS:
        sys.modules.setdefault(name, ModuleType(name))
    lookup = torch._ops._OpNamespace.__getattr__

    def look_up(self: Any, name: str) -> Any:
        try:
            return lookup(self, name)
        except AttributeError:
            if not self.name.startswith(_NAMESPACES):
                raise
            # Asked whether a kernel supports something, it answers yes, as the CUDA build would.
            return lambda *args, **kwargs: True

    torch._ops._OpNamespace.__getattr__ = look_up


def _become_cuda() -> None:
    import vllm.platforms as platforms
    from vllm.platforms.cuda import NonNvmlCudaPlatform
    from vllm.platforms.interface import DeviceCapability, Platform

    class StandIn(NonNvmlCudaPlatform):  # type: ignore[misc]  # vLLM is untyped from here
        """The CUDA platform, answering for GPUs that are not there."""

        @classmethod
        def get_device_capability(cls, device_id: int = 0) -> Any:
            return DeviceCapability(*_seen[-1].capability)

        @classmethod
        def get_device_name(cls, device_id: int = 0) -> str:
            return _seen[-1].device_name

        @classmethod
        def get_device_total_memory(cls, device_id: int = 0) -> int:
            return _seen[-1].memory_bytes

        @classmethod
        def is_fully_connected(cls, physical_device_ids: list[int]) -> bool:
            return True

        @classmethod
        def device_count(cls) -> int:
            return _seen[-1].count

        @classmethod
        def import_kernels(cls) -> None:
            pass

    Platform.import_kernels = classmethod(lambda cls: None)
    known = platforms._current_platform
    if known is None:
        platforms._current_platform = StandIn()
    else:
        # Many modules hold this very object.
        known.__class__ = StandIn


def _inspect_models_here() -> None:
    """vLLM looks at a model class in a new process, which would not know of the stand-in and takes 10 s."""
    from vllm.model_executor.models import registry

    registry._LazyRegisteredModel.inspect_model_cls = lambda self: registry._ModelInfo.from_model_cls(
        self.load_model_cls()
    )
