"""Every profile becomes a configuration that vLLM accepts for its hardware, as far as that can be seen without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.deployment_settings import HardwareSettings
from server.engine.arguments import engine_arguments, engine_environment
from server.profile_files import config_folder, profiles
from server.settings import EMBEDDED, Settings, load

# Compute capability by the GPU's name in a profile; AMD's as vLLM derives it from gfx942.
CAPABILITIES = {
    "H100": (9, 0),
    "H200": (9, 0),
    "B200": (10, 0),
    "RTX-PRO-6000": (12, 0),
    "MI300X": (9, 4),
}
NAMES = sorted(set(profiles()) - {"generic"})  # which names no model

Case = dict[str, Any]
Built = dict[str, Any]


def kind_of(hardware: HardwareSettings) -> str:
    if hardware.gpu is None:
        return "cpu"
    return "rocm" if hardware.gpu.startswith("MI") else "cuda"


def checkpoint(settings: Settings, folder: Path) -> Path | str:
    """A folder that has the profile's model but for weights and tokenizer: shapes, and how weights are quantised."""
    if settings.model.path == EMBEDDED:
        return engine_arguments(settings)["model"]
    models = config_folder("models")
    config = json.loads((models / str(settings.weights.shapes) / "config.json").read_text())
    if settings.weights.precision != "bf16":
        quantization = models / "quantization" / f"{settings.weights.precision}.json"
        config["quantization_config"] = json.loads(quantization.read_text())
    made = folder / settings.profile
    made.mkdir(exist_ok=True)
    (made / "config.json").write_text(json.dumps(config))
    return made


def case_of(name: str, folder: Path, change: Callable[[dict[str, Any]], Any] | None = None, rank: int = 0) -> Case:
    settings = load(name, {"node": {"rank": rank, "master_addr": "10.0.0.1"}})
    hardware = settings.hardware
    arguments = {**engine_arguments(settings), "model": str(checkpoint(settings, folder))}
    if change is not None:
        change(arguments)
    return {
        "arguments": arguments,
        "environment": engine_environment(settings),
        "headless": rank > 0,
        "gpu": hardware.gpu
        and {
            "name": hardware.gpu,
            "capability": CAPABILITIES[hardware.gpu],
            "memory_gib": hardware.memory_gib,
            "count": hardware.gpus_per_node,
        },
    }


# What vLLM must refuse, so that the proof is one: the profile, the change, and what vLLM says.
REFUSED: dict[str, tuple[str, Callable[[dict[str, Any]], Any], str]] = {
    "a misspelt argument": (
        "qwen3.5-397b-8xh200-fp8",
        lambda arguments: arguments.update(tensor_paralel_size=arguments.pop("tensor_parallel_size")),
        "tensor_paralel_size",
    ),
    "more GPUs than there are": (
        "qwen3.5-397b-8xh200-bf16",
        lambda arguments: arguments.update(tensor_parallel_size=16),
        "larger than the number of available GPUs",
    ),
    "heads that cannot be split so": (
        "qwen3.5-397b-8xh200-bf16",
        lambda arguments: arguments.update(tensor_parallel_size=6),
        "must be divisible by tensor parallel size",
    ),
    "the state cache without chunked prefill": (
        "qwen3.5-397b-8xh200-fp8-latency",
        lambda arguments: arguments.update(enable_chunked_prefill=False, max_num_batched_tokens=262_144),
        "Chunked prefill is required",
    ),
    "a context beyond the model's without YaRN": (
        "qwen3.5-397b-8xh200-fp8",
        lambda arguments: arguments.update(max_model_len=1_010_000),
        "max_model_len",
    ),
    "a speculation that this model has not": (
        "qwen3.5-397b-8xh200-fp8-latency",
        lambda arguments: arguments.update(speculative_config={"method": "mpt", "num_speculative_tokens": 1}),
        "mpt",
    ),
    "another quantisation than the weights'": (
        "qwen3.5-397b-8xh200-fp8",
        lambda arguments: arguments.update(quantization="auto_gptq"),
        "does not match the quantization",
    ),
    "an FP8 cache where the attention kernel has none": (
        "qwen3.5-397b-4x96gb-gptq-int4",
        lambda arguments: arguments.update(kv_cache_dtype="fp8", attention_backend="FLASH_ATTN"),
        "kv_cache_dtype not supported",
    ),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    """What vLLM made of every profile, of the second node of those that have one, and of what it must refuse."""
    folder = tmp_path_factory.mktemp("models")
    cases: dict[str, Case] = {name: case_of(name, folder) for name in NAMES}
    for name in NAMES:
        for rank in range(1, load(name).hardware.nodes):
            cases[f"{name}, node {rank}"] = case_of(name, folder, rank=rank)
    cases |= {title: case_of(name, folder, change) for title, (name, change, _) in REFUSED.items()}
    answers: dict[str, Built] = {}
    kinds = {
        title: kind_of(load(REFUSED[title][0] if title in REFUSED else title.split(",")[0]).hardware) for title in cases
    }
    for kind in ("cuda", "rocm", "cpu"):
        titles = sorted(
            (title for title in cases if kinds[title] == kind), key=lambda title: json.dumps(cases[title]["gpu"])
        )
        done = subprocess.run(
            [sys.executable, "-m", "tests.engine.vllm_configs", kind],
            input=json.dumps([cases[title] for title in titles]),
            capture_output=True,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR"},
            cwd=Path(__file__).parents[2],
            timeout=200,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        answers.update(zip(titles, json.loads(done.stdout), strict=True))
    return answers


@pytest.mark.parametrize("name", NAMES)
def test_vllm_accepts_the_profile(name: str, built: dict[str, Built]) -> None:
    made, settings = built[name], load(name)
    assert made["error"] is None
    assert made["world_size_across_dp"] == max(settings.hardware.gpus, 1)
    assert made["max_model_len"] == settings.model.max_model_len
    assert made["prefix_caching"]
    assert made["mamba_cache_mode"] == "align"
    assert made["chunked_prefill"]
    assert made["multimodal"] is not settings.engine.get("language_model_only", False)
    expected = {"bf16": None, "fp8": "fp8", "nvfp4": "modelopt_fp4", "gptq-int4": "auto_gptq", "awq": "auto_awq"}
    assert made["quantization"] == expected[settings.weights.precision]


@pytest.mark.parametrize("name", [name for name in NAMES if load(name).hardware.nodes > 1])
def test_vllm_accepts_every_other_node_of_the_profile(name: str, built: dict[str, Built]) -> None:
    hardware = load(name).hardware
    for rank in range(1, hardware.nodes):
        node = built[f"{name}, node {rank}"]
        assert node["error"] is None
        assert (node["node_rank"], node["local_world_size"]) == (rank, hardware.gpus_per_node)
        assert node["executor"] == "mp"


@pytest.mark.parametrize("title", REFUSED)
def test_vllm_refuses_what_it_must(title: str, built: dict[str, Built]) -> None:
    # The attention backend is chosen when the layers are built, which a configuration does not do.
    assert REFUSED[title][2] in str(built[title]["error"] or built[title]["attention"])


@pytest.mark.parametrize(
    "name", [name for name in NAMES if load(name).hardware.gpu in ("H100", "H200", "RTX-PRO-6000")]
)
def test_flash_attention_takes_the_profiles_cache(name: str, built: dict[str, Built]) -> None:
    """On others vLLM prefers what is not installed here: FlashInfer's kernels, AMD's."""
    assert built[name]["attention"] == "FLASH_ATTN"


def test_speculation_uses_the_models_own_layer(built: dict[str, Built]) -> None:
    made = built["qwen3.5-397b-8xh200-fp8-latency"]
    assert (made["speculative_tokens"], made["draft_architecture"]) == (1, "Qwen3_5MoeMTP")


@pytest.mark.parametrize("name", NAMES)
def test_chunks_of_a_long_prompt_and_blocks_fit_each_other(name: str, built: dict[str, Built]) -> None:
    """A chunk ends at a block's end; where neither is some times the other, most steps are wasted."""
    threshold = load(name).engine.get("long_prefill_token_threshold")
    if threshold is not None:
        block = built[name]["block_tokens"]
        assert block % threshold == 0 or threshold // block * block > 0.9 * threshold, f"blocks of {block}"
