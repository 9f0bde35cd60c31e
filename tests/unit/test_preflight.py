"""Starts that are certain to fail, told before anything costly is begun."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from server.engine.arguments import model_path
from server.preflight import CannotStart, preflight
from server.settings import EMBEDDED, load

WEIGHTS = "model.safetensors"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_path(EMBEDDED), tmp_path / "checkpoint"))


def refused(**flags: Any) -> str:
    began = time.monotonic()
    with pytest.raises(CannotStart) as told:
        preflight(load(flags.pop("profile", "reference-cpu"), flags))
    assert time.monotonic() - began < 5
    return str(told.value)


def test_the_embedded_checkpoint_may_start(checkpoint: Path) -> None:
    preflight(load("reference-cpu"))
    preflight(load("reference-cpu", {"model": {"path": str(checkpoint)}}))
    # Nothing is known of a name at the hub.
    preflight(load("reference-cpu", {"model": {"path": "org/name"}}))


def test_missing_weights(checkpoint: Path) -> None:
    (checkpoint / WEIGHTS).unlink()
    assert "has no weights" in refused(model={"path": str(checkpoint)})


def test_a_missing_folder() -> None:
    assert refused(model={"path": "/no/such/checkpoint"}) == "there is no folder /no/such/checkpoint"


def test_truncated_weights(checkpoint: Path) -> None:
    whole = (checkpoint / WEIGHTS).read_bytes()
    (checkpoint / WEIGHTS).write_bytes(whole[:-1000])
    assert f"{WEIGHTS} is cut short: {len(whole) - 1000:,} bytes of {len(whole):,}" in refused(
        model={"path": str(checkpoint)}
    )


def test_weights_of_another_config(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    config["text_config"]["hidden_size"] = 256
    (checkpoint / "config.json").write_text(json.dumps(config))
    told = refused(model={"path": str(checkpoint)})
    assert "embed_tokens.weight has the shape [1216, 192]" in told
    assert "[1216, 256]: these are not the weights of this config" in told


def test_weights_that_are_made_up_need_no_files(checkpoint: Path) -> None:
    (checkpoint / WEIGHTS).unlink()
    preflight(load("reference-cpu", {"model": {"path": str(checkpoint)}, "engine": {"load_format": "dummy"}}))


def test_more_memory_than_the_machine_has() -> None:
    told = refused(engine={"kv_cache_memory_bytes": 2**50})
    assert "weights, KV cache and processes take some 1024" in told
    assert "engine.kv_cache_memory_bytes takes less" in told


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            {"hardware": {"gpu": "H100", "memory_gib": 79.2}},
            "GiB on each GPU, of 71.3 GiB that each H100 offers (90% of 79.2 GiB)",
        ),
        ({"model": {"max_model_len": 1_010_000}}, "a context of 1,010,000 tokens is beyond the 262,144 positions"),
        ({"engine": {"tensor_parallel_size": 7}}, "tensor parallel 7 does not divide the model's 32 attention heads"),
    ],
)
def test_a_profile_that_does_not_fit_is_told_in_the_plans_words(flags: dict[str, Any], says: str) -> None:
    told = refused(profile="qwen3.5-397b-8xh200-bf16", **flags)
    assert says in told
    assert "as profile qwen3.5-397b-8xh200-bf16 has it" in told


def test_what_the_operator_knows_better_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1")
    preflight(load("qwen3.5-397b-8xh200-fp8", {"model": {"max_model_len": 1_010_000}}))
