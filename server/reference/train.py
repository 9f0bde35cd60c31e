"""Trains the reference checkpoint.

    python -m server.reference.train --out .train --steps 6000 --tokens 65536 --workers 15

Seeded, and resumable: with --resume it goes on from the last state in --out, with the tokenizer that lies there. With
--init it starts from the weights and the tokenizer of a checkpoint instead of from nothing. Ends by exporting the
checkpoint in bfloat16 and scoring that export on held-out samples.

On a CPU set MALLOC_MMAP_THRESHOLD_=4294967296 and MALLOC_TRIM_THRESHOLD_=17179869184, or most of the time goes into
asking the system for the same memory again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import DataLoader

from server.reference import model as shape
from server.reference import tokenizer as vocabulary
from server.reference.acceleration import accelerate
from server.reference.data import Batch, Encoder, TrainingBatches, evaluation_batches
from server.reference.tasks import skills

_WARM_UP = 60
_SAVE_EVERY = 200
_LEAST_RATE = 0.005


def main() -> None:
    """Trains, exports and scores."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    tokenizer = _tokenizer(options)
    encoder = Encoder(tokenizer)
    network = (shape.load(options.init) if options.init else shape.build(tokenizer)).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.rate, betas=(0.9, 0.98), weight_decay=0.01)
    state = options.out / "state.pt"
    step = _restore(state, network, optimizer, device) if options.resume else 0
    accelerate(network)
    count = sum(each.numel() for each in network.parameters())
    print(f"{count / 1e6:.2f} M parameters on {device}, from step {step}", flush=True)
    step = _train(network, optimizer, encoder, options, device, step)
    _save(state, network, optimizer, step)
    checkpoint = options.out / "checkpoint"
    export(network, tokenizer, checkpoint)
    print(f"exported to {checkpoint} after {step} of {options.steps} steps", flush=True)
    scores = score(checkpoint, encoder, device, options.score_samples)
    (options.out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the state and the exported checkpoint")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--tokens", type=int, default=65536, help="tokens of a batch, padding included")
    parser.add_argument("--rate", type=float, default=2.5e-3, help="highest learning rate")
    parser.add_argument("--mix", help="weights of skills in place of the tasks' own: sum=3,image=2,repeat=1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", help="cuda or cpu; by default the better of what is there")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw and encode samples")
    parser.add_argument("--init", type=Path, help="checkpoint to start from")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--stop-after", type=float, default=float("inf"), help="seconds after which to save and stop")
    parser.add_argument("--score-samples", type=int, default=256)
    return parser.parse_args()


def _tokenizer(options: Any) -> Any:
    """The tokenizer of what is continued; only a training from nothing makes its own.

    A tokenizer that was made anew could differ in a merge, since it follows the tasks, and then no weight would fit.
    """
    kept: Path = options.out / "tokenizer"
    if options.resume and kept.exists():
        return vocabulary.load(kept)
    tokenizer = vocabulary.load(options.init) if options.init else vocabulary.build(options.seed)
    tokenizer.save_pretrained(kept)
    return tokenizer


def _train(
    network: Any, optimizer: torch.optim.Optimizer, encoder: Encoder, options: Any, device: torch.device, step: int
) -> int:
    began = time.monotonic()
    first, tokens, losses = step, 0, []
    network.train()
    batches: Iterator[Batch] | None = None
    share = -1.0
    while step < options.steps and time.monotonic() - began < options.stop_after:
        if batches is None or share != _repetitions(step, options):
            share = _repetitions(step, options)
            batches = iter(_loader(encoder, options, f"{options.seed}/{step}", share, device))
        for group in optimizer.param_groups:
            group["lr"] = options.rate * _schedule(step, options.steps)
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in next(batches).items()}
        tokens += batch["input_ids"].numel()
        answers, balance = loss(network, batch)
        (answers + balance).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(answers.detach())
        step += 1
        if step % 50 == 0:
            seconds = time.monotonic() - began
            left = seconds / (step - first) * (options.steps - step)
            mean = torch.stack(losses).mean().item()
            print(f"step {step} loss {mean:.4f} {tokens / seconds:.0f} tokens/s {left:.0f} s left", flush=True)
            losses.clear()
        if step % _SAVE_EVERY == 0:
            _save(options.out / "state.pt", network, optimizer, step)
    return step


def loss(network: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross entropy on the answers' tokens, and the weighted router loss that keeps all experts in use."""
    from transformers.models.qwen3_5_moe.modeling_qwen3_5_moe import load_balancing_loss_func

    text = network.config.text_config
    labels = batch["labels"][:, 1:]
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    with torch.autocast(labels.device.type, torch.bfloat16):
        outputs = network.model(**inputs, output_router_logits=True, use_cache=False)
        # Most tokens are the prompt's, whose logits nobody asks for.
        logits = network.lm_head(outputs.last_hidden_state[:, :-1][labels >= 0])
    answers = functional.cross_entropy(logits.float(), labels[labels >= 0])
    balance: torch.Tensor = load_balancing_loss_func(
        outputs.router_logits, text.num_experts, text.num_experts_per_tok, batch["attention_mask"]
    )
    return answers, text.router_aux_loss_coef * balance


def _loader(encoder: Encoder, options: Any, seed: str, share: float, device: torch.device) -> DataLoader[Batch]:
    mix = dict(pair.split("=") for pair in options.mix.split(",")) if options.mix else {}
    batches = TrainingBatches(encoder, options.tokens, seed, share, {skill: float(mix[skill]) for skill in mix})
    return DataLoader(
        batches,
        batch_size=None,
        num_workers=options.workers,
        prefetch_factor=8 if options.workers else None,
        pin_memory=device.type == "cuda",
    )


def _repetitions(step: int, options: Any) -> float:
    """Share of plain copying on top of the tasks: it is what the copying of names and arguments grows from."""
    if options.init:
        return 0.0
    return 0.6 if step < 0.1 * options.steps else 0.25 if step < 0.3 * options.steps else 0.0


def _schedule(step: int, steps: int) -> float:
    """Warm-up, then linearly down."""
    return min(1.0, (step + 1) / _WARM_UP) * max(_LEAST_RATE, 1 - step / steps)


def _restore(state: Path, network: Any, optimizer: torch.optim.Optimizer, device: torch.device) -> int:
    if not state.exists():
        return 0
    saved = torch.load(state, map_location=device, weights_only=True)
    network.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])


def _save(path: Path, network: Any, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Writes the state whole or not at all."""
    partial = path.with_suffix(".partial")
    torch.save({"model": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, partial)
    partial.rename(path)


def export(network: Any, tokenizer: Any, folder: Path) -> None:
    """Writes the checkpoint as vLLM and transformers read it, in bfloat16; the network itself stays as it is."""
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in network.state_dict().items()}
    network.save_pretrained(folder, state_dict=weights)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = config["text_config"]["dtype"] = config["vision_config"]["dtype"] = "bfloat16"
    # Only training wants the router's logits.
    config["text_config"]["output_router_logits"] = False
    # It writes them for their owner alone.
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    for name, content in {
        "config.json": config,
        "preprocessor_config.json": shape.IMAGE_PROCESSOR,
        "video_preprocessor_config.json": shape.VIDEO_PROCESSOR,
        "generation_config.json": {"eos_token_id": ends, "pad_token_id": ends[1]},
    }.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def score(folder: Path, encoder: Encoder, device: torch.device, count: int) -> dict[str, dict[str, float]]:
    """Share of held-out samples whose answer is right to the last token, per skill, thinking and direct.

    Every token must be the likeliest one given those before it, which is what greedy decoding would then have written.
    """
    network = shape.load(folder, torch.bfloat16).to(device).eval()
    scores: dict[str, dict[str, float]] = {}
    for skill in skills():
        scores[skill] = {}
        for thinking in (True, False):
            right = 0
            for batch in evaluation_batches(encoder, skill, thinking=thinking, count=count, size=64):
                inputs = {name: tensor.to(device) for name, tensor in batch.items()}
                labels = inputs.pop("labels")[:, 1:]
                with torch.inference_mode():
                    likeliest = network(**inputs, use_cache=False).logits[:, :-1].argmax(-1)
                right += int(((likeliest == labels) | (labels < 0)).all(-1).sum())
            scores[skill]["thinking" if thinking else "direct"] = right / count
        print(f"{skill:12} thinking {scores[skill]['thinking']:.3f} direct {scores[skill]['direct']:.3f}", flush=True)
    return scores


if __name__ == "__main__":
    main()
