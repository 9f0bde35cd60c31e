"""Samples to tensors: rendered by the checkpoint's own chat template, tokenised, put into batches of like length."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info
from transformers.vision_utils import get_vision_position_ids

from server.engine.torchvision_ops import ensure
from server.reference.conversation import Sample
from server.reference.model import IMAGE_PROCESSOR
from server.reference.tasks import sample
from server.reference.vocabulary import Split

Batch = dict[str, torch.Tensor]

_IGNORED = -100
_POOL = 2048  # samples that are drawn together and sorted by length, so that little is padding
_CHUNK = 64


@dataclass(slots=True)
class Encoded:
    """One sample: `labels` are -100 on the prompt and the answer's tokens after it."""

    ids: list[int]
    labels: list[int]
    pixels: list[torch.Tensor]
    grids: list[list[int]]


class Encoder:
    """Encodes samples with one tokenizer and the image processor that vLLM will use."""

    def __init__(self, tokenizer: Any) -> None:
        ensure()
        from transformers import Qwen2VLImageProcessor

        options = {key: value for key, value in IMAGE_PROCESSOR.items() if not key.endswith(("_type", "_class"))}
        self._tokenizer = tokenizer
        self._images = Qwen2VLImageProcessor(**options)
        ids = tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|endoftext|>"])
        self._image_token, self._pad = ids

    def texts(self, made: Sample, *, thinking: bool) -> tuple[str, str]:
        """Prompt and answer as the template writes them; each image is one `<|image_pad|>`."""
        prompt = self._render(made, made.messages, add_generation_prompt=True, enable_thinking=thinking)
        answer = {
            "role": "assistant",
            "content": made.content,
            "reasoning_content": made.thought if thinking else "",
            "tool_calls": [{"function": {"name": name, "arguments": arguments}} for name, arguments in made.calls],
        }
        whole = self._render(made, [*made.messages, answer], add_generation_prompt=False).removesuffix("\n")
        assert whole.startswith(prompt), (prompt, whole)
        return prompt, whole[len(prompt) :]

    def encode(self, made: Sample, *, thinking: bool) -> Encoded:
        """Tokens, labels and image patches of one sample."""
        prompt, answer = self.texts(made, thinking=thinking)
        pixels, grids = [], []
        for image in made.images:
            processed = self._images(images=[image], return_tensors="pt")
            grid = processed["image_grid_thw"][0].tolist()
            # What the GPU computes in anyway, at half the bytes to copy.
            pixels.append(processed["pixel_values"].to(torch.bfloat16))
            grids.append(grid)
            tokens = grid[0] * grid[1] * grid[2] // 4
            prompt = prompt.replace("<|image_pad|>", "<|image|>" * tokens, 1)
        ids = self._ids(prompt.replace("<|image|>", "<|image_pad|>"))
        target = self._ids(answer)
        return Encoded(ids + target, [_IGNORED] * len(ids) + target, pixels, grids)

    def batch(self, rows: list[Encoded]) -> Batch:
        """Tensors of shape [rows, longest row], padded on the right, and the patches of all images."""
        longest = max(len(row.ids) for row in rows)
        ids = torch.full((len(rows), longest), self._pad)
        labels = torch.full((len(rows), longest), _IGNORED)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : len(row.ids)] = torch.tensor(row.ids)
            labels[index, : len(row.ids)] = torch.tensor(row.labels)
            mask[index, : len(row.ids)] = 1
        batch = {
            "input_ids": ids,
            "labels": labels,
            "attention_mask": mask,
            "position_ids": torch.zeros((3, len(rows), longest), dtype=torch.long),
        }
        for index, row in enumerate(rows):
            batch["position_ids"][:, index, : len(row.ids)] = self._positions(row)
        pixels = [each for row in rows for each in row.pixels]
        if pixels:
            batch["pixel_values"] = torch.cat(pixels)
            batch["image_grid_thw"] = torch.tensor([grid for row in rows for grid in row.grids])
            batch["image_position_ids"] = get_vision_position_ids(batch["image_grid_thw"], 2)
        return batch

    def _positions(self, row: Encoded) -> torch.Tensor:
        """M-RoPE positions [3, tokens], as the model would compute them one row after the other on the GPU."""
        positions = torch.arange(len(row.ids)).expand(3, -1).clone()
        for _, height, width in row.grids[:1]:
            start, (high, wide) = row.ids.index(self._image_token), (height // 2, width // 2)
            end = start + high * wide
            positions[0, start:end] = start
            positions[1, start:end] = start + torch.arange(high).repeat_interleave(wide)
            positions[2, start:end] = start + torch.arange(wide).repeat(high)
            positions[:, end:] += max(high, wide) - high * wide
        return positions

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _render(self, made: Sample, messages: list[dict[str, Any]], **arguments: Any) -> str:
        text: str = self._tokenizer.apply_chat_template(messages, tools=made.tools or None, tokenize=False, **arguments)
        return text


class TrainingBatches(IterableDataset[Batch]):  # type: ignore[misc]
    """Endless batches of at most `tokens` tokens. Each of the loader's workers draws samples of its own.

    `repetitions` is the share of plain copying on top of the tasks, `mix` the skills' weights in place of the tasks'
    own.
    """

    def __init__(
        self, encoder: Encoder, tokens: int, seed: str, repetitions: float = 0.0, mix: dict[str, float] | None = None
    ) -> None:
        self._encoder = encoder
        self._tokens = tokens
        self._seed = seed
        self._repetitions = repetitions
        self._mix = mix

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        if worker:
            torch.set_num_threads(1)
        rng = random.Random(f"{self._seed}/{worker.id if worker else 0}")
        while True:
            rows = [self._draw(rng) for _ in range(_POOL)]
            rows.sort(key=lambda row: len(row.ids))
            batches = _filled(rows, self._tokens)
            rng.shuffle(batches)
            yield from map(self._encoder.batch, batches)

    def _draw(self, rng: random.Random) -> Encoded:
        skill = rng.choices(list(self._mix), weights=list(self._mix.values()))[0] if self._mix else None
        if rng.random() < self._repetitions:
            skill = "repeat"
        return self._encoder.encode(sample(rng, "train", skill), thinking=rng.random() < 0.5)


def _filled(rows: list[Encoded], tokens: int) -> list[list[Encoded]]:
    """Rows in the order given, as many to a batch as stay within `tokens` once padded."""
    batches: list[list[Encoded]] = [[]]
    for row in rows:
        if batches[-1] and (len(batches[-1]) + 1) * _padded(row) > tokens:
            batches.append([])
        batches[-1].append(row)
    return batches


def _padded(row: Encoded) -> int:
    """Its length in the delta rule, which works on whole chunks."""
    return (len(row.ids) + _CHUNK - 1) // _CHUNK * _CHUNK


def evaluation_batches(
    encoder: Encoder, skill: str, *, thinking: bool, count: int, size: int, split: Split = "held-out"
) -> Iterator[Batch]:
    """`count` samples of one skill in batches, always the same."""
    rng = random.Random(f"{skill}/{thinking}")
    rows = [encoder.encode(sample(rng, split, skill), thinking=thinking) for _ in range(count)]
    for start in range(0, count, size):
        yield encoder.batch(rows[start : start + size])
