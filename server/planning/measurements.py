"""Public measurements of Qwen3.5-397B-A17B, each beside the ceiling of the same deployment.

They are other people's figures, of other engines and versions; where a source leaves something out, what is assumed
makes the ceiling lower, so that the ratio flatters nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from server.planning.ceilings import Roofline
from server.planning.deployment import Deployment, Weights
from server.planning.hardware import hardware
from server.planning.model_shapes import model_shapes
from server.planning.weights import weight_bytes


@dataclass(frozen=True)
class Measurement:
    """Output tokens per second in all, of `sequences` at once with prompts of `input_tokens`."""

    hardware: str
    weights: Weights
    mtp_tokens: int
    sequences: int
    input_tokens: int
    output_tokens: int
    tokens_per_second: float
    engine: str
    source: str


_COOKBOOK = "https://github.com/sgl-project/sgl-cookbook/blob/main/docs/autoregressive/Qwen/Qwen3.5.md"
_MTP = "https://github.com/SemiAnalysisAI/InferenceX/pull/3290"
_PLAIN = "https://github.com/SemiAnalysisAI/InferenceX/pull/1544"
_PRO = "https://github.com/AlexGS74/glm47-nvfp4-sm120/blob/main/docs/qwen35-397b-thread-summary.md"
_LAMBDA = "https://lambda.ai/inference-models/qwen/qwen3.5-397b-a17b"

MEASUREMENTS = (
    Measurement("8xH200", "bf16", 3, 1, 1024, 1024, 223, "SGLang", _COOKBOOK),
    Measurement("8xH200", "bf16", 3, 100, 1024, 1024, 1767, "SGLang", _COOKBOOK),
    Measurement("8xH100", "fp8", 3, 4, 8192, 1024, 90 * 8, "SGLang", _MTP),
    Measurement("8xH100", "fp8", 3, 32, 8192, 1024, 236 * 8, "SGLang", _MTP),
    Measurement("8xH100", "fp8", 0, 1, 1024, 1024, 166, "SGLang", _PLAIN),
    Measurement("8xH100", "fp8", 0, 64, 1024, 1024, 52 * 64, "SGLang", _PLAIN),
    Measurement("8xH100", "fp8", 0, 256, 1024, 1024, 28 * 256, "SGLang", _PLAIN),
    Measurement("8xB200", "bf16", 0, 32, 8192, 1024, 1268, "SGLang", _LAMBDA),
    Measurement("4xRTXPRO6000", "nvfp4", 0, 1, 1024, 1024, 64, "vLLM", _PRO),
    Measurement("4xRTXPRO6000", "nvfp4", 1, 1, 1024, 1024, 105, "vLLM", _PRO),
    Measurement("4xRTXPRO6000", "nvfp4", 2, 1, 1024, 1024, 140, "vLLM", _PRO),
    Measurement("4xRTXPRO6000", "nvfp4", 0, 100, 1024, 1024, 2400, "vLLM", _PRO),
)
"""Prompt and answer lengths of the last four are not given; `docs/planning.md` says what each source leaves out."""


def ceiling(measurement: Measurement, model: dict[str, Any]) -> float:
    """Most output tokens per second in all, were every drafted token right and prefill hidden behind decode."""
    on = hardware(measurement.hardware)
    deployment = Deployment(
        on, model, "measured", measurement.weights, tensor_parallel=on.gpus, mtp_tokens=measurement.mtp_tokens
    )
    shapes = model_shapes(model)
    roofline = Roofline(deployment, shapes, weight_bytes(deployment, shapes))
    context = measurement.input_tokens + measurement.output_tokens // 2
    decode = roofline.decode(measurement.sequences, context).tokens_per_second_per_gpu * on.gpus
    prefill, _ = roofline.prefill(measurement.input_tokens, measurement.input_tokens * measurement.sequences)
    # Each answer needs its prompt computed, so output is no faster than prompts allow.
    return min(decode, prefill * on.gpus * measurement.output_tokens / measurement.input_tokens)
