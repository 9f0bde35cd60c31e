"""The faster training code computes what transformers' reference code computes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from server.engine.torchvision_ops import ensure

ensure()

import torch  # noqa: E402
from transformers.models.qwen3_5_moe import modeling_qwen3_5_moe as modeling  # noqa: E402

from server.reference import model, tokenizer  # noqa: E402
from server.reference.acceleration import accelerate, chunk_gated_delta_rule  # noqa: E402
from server.reference.data import Encoder  # noqa: E402
from server.reference.tasks import sample  # noqa: E402
from server.reference.train import loss  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # `accelerate` replaces it for the whole process.
    monkeypatch.setattr(modeling, "torch_chunk_gated_delta_rule", modeling.torch_chunk_gated_delta_rule)


@pytest.mark.parametrize("length", [1, 64, 150])
def test_delta_rule_and_its_gradients(length: int) -> None:
    query, key, value = (torch.randn(2, length, 3, 16, requires_grad=True) for _ in range(3))
    decay, beta = (-torch.rand(2, length, 3)).requires_grad_(), torch.rand(2, length, 3, requires_grad=True)
    inputs = (query, key, value, decay, beta)
    results = []
    for rule in (modeling.torch_chunk_gated_delta_rule, chunk_gated_delta_rule):
        output, state = rule(*inputs, use_qk_l2norm_in_kernel=True)
        assert state is None
        results.append((output, *torch.autograd.grad(output.square().sum(), inputs)))
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_whole_batch_with_images() -> None:
    encoder = Encoder(tokenizer.load(tokenizer.CHECKPOINT))
    rng = random.Random(1)
    rows = [
        encoder.encode(sample(rng, "train", skill), thinking=True) for skill in ("image", "sum", "image", "tool_call")
    ]
    batch = encoder.batch(rows)
    batch["pixel_values"] = batch["pixel_values"].float()
    network = model.load(tokenizer.CHECKPOINT)
    theirs: dict[str, Any] = {
        name: tensor for name, tensor in batch.items() if name not in ("position_ids", "image_position_ids", "labels")
    }
    theirs["mm_token_type_ids"] = (batch["input_ids"] == network.config.image_token_id).int()
    inside = batch["attention_mask"].bool()
    with torch.inference_mode():
        wanted = network(**theirs, use_cache=False).logits[inside]
        accelerate(network)
        ours = {name: tensor for name, tensor in batch.items() if name != "labels"}
        torch.testing.assert_close(network(**ours, use_cache=False).logits[inside], wanted, rtol=1e-3, atol=1e-3)


def test_the_checkpoint_has_learned_its_tasks() -> None:
    encoder = Encoder(tokenizer.load(tokenizer.CHECKPOINT))
    network = model.load(tokenizer.CHECKPOINT)
    rows = [
        encoder.encode(sample(random.Random(seed), "held-out", "greet"), thinking=seed % 2 == 0) for seed in range(8)
    ]
    with torch.inference_mode():
        answers, _ = loss(network, encoder.batch(rows))
    assert answers.item() < 0.05
