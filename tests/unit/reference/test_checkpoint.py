"""The files that ship: complete, small, and with Qwen3.5's special tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from server.reference.tokenizer import CHECKPOINT, MARKERS, SPECIAL


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))


def config(name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((CHECKPOINT / name).read_text(encoding="utf-8"))
    return content


def test_the_folder_is_complete_and_small() -> None:
    files = {path.name for path in CHECKPOINT.iterdir()}
    assert files == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "video_preprocessor_config.json",
    }
    assert sum(path.stat().st_size for path in CHECKPOINT.iterdir()) < 10_000_000


def test_the_model_is_qwens_in_bfloat16() -> None:
    written = config("config.json")
    assert written["architectures"] == ["Qwen3_5MoeForConditionalGeneration"]
    assert written["dtype"] == "bfloat16"
    text = written["text_config"]
    assert isinstance(text, dict)
    assert text["layer_types"] == ["linear_attention"] * 3 + ["full_attention"]
    assert text["max_position_embeddings"] == 262144
    with Path(CHECKPOINT / "model.safetensors").open("rb") as weights:
        header = json.loads(weights.read(int.from_bytes(weights.read(8), "little")))
    header.pop("__metadata__", None)
    assert {tensor["dtype"] for tensor in header.values()} == {"BF16"}


def test_special_tokens_and_their_ids(tokenizer: Tokenizer) -> None:
    added = {token.content: token.special for token in tokenizer.get_added_tokens_decoder().values()}
    assert added == dict.fromkeys(SPECIAL, True) | dict.fromkeys(MARKERS, False)
    written, generation = config("config.json"), config("generation_config.json")
    assert written["image_token_id"] == tokenizer.token_to_id("<|image_pad|>")
    assert written["video_token_id"] == tokenizer.token_to_id("<|video_pad|>")
    ends = [tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")]
    assert generation["eos_token_id"] == ends


@pytest.mark.parametrize("text", ["Hello, Zubavo!", "naïve ü 你好 мир 🙂🚀", '{"a": [1, 2.5]}\n\n  x\t', "1234567890"])
def test_text_comes_back_as_it_was(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_digits_are_single_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("4096", add_special_tokens=False).tokens == list("4096")
