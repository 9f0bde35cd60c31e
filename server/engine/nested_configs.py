"""Engine arguments that are configurations of their own."""

from __future__ import annotations

from typing import Any


def with_configs(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with the nested configuration built that vLLM does not build from a mapping itself."""
    from vllm.config import StructuredOutputsConfig

    nested = arguments.get("structured_outputs_config")
    if not isinstance(nested, dict):
        return arguments
    return {**arguments, "structured_outputs_config": StructuredOutputsConfig(**nested)}
