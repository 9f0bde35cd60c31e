"""Builds the reference checkpoint's tokenizer: byte-level BPE over the tasks' text, with Qwen3.5's special tokens."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

from server.reference.tasks import sample

# As in Qwen3.5: the first are special and never shown, the second are ordinary tokens that a parser reads.
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
MARKERS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")

CHECKPOINT = Path(__file__).with_name("checkpoint")

_VOCABULARY = 1200
_CORPUS = 8000


def build(seed: int) -> Any:
    """A PreTrainedTokenizerFast with our chat template; the same for the same seed."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
    from transformers.models.qwen3_5.tokenization_qwen3_5 import PRETOKENIZE_REGEX

    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=_VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(corpus(seed), trainer)
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    bpe.add_tokens([AddedToken(token, special=False, normalized=False) for token in MARKERS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        model_max_length=262144,
        # Text must come back as it was: no spaces are taken from before punctuation.
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = (CHECKPOINT / "chat_template.jinja").read_text(encoding="utf-8")
    return tokenizer


def load(folder: Path) -> Any:
    """The tokenizer of a checkpoint, with the chat template as it is now."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.chat_template = (CHECKPOINT / "chat_template.jinja").read_text(encoding="utf-8")
    return tokenizer


def corpus(seed: int) -> list[str]:
    """The text that merges are learned from: the tasks' own, without the tokens that are never split."""
    rng = random.Random(seed)
    markers = re.compile("|".join(map(re.escape, SPECIAL + MARKERS)))
    texts = []
    for _ in range(_CORPUS):
        made = sample(rng, "train")
        parts = [text for message in made.messages for text in _texts(message["content"])]
        parts += [json.dumps(tool) for tool in made.tools]
        parts += [_call(name, arguments) for name, arguments in made.calls]
        texts.append(markers.sub(" ", "\n".join([*parts, made.thought, made.content])))
    return texts


def _texts(content: str | list[dict[str, Any]]) -> list[str]:
    return [content] if isinstance(content, str) else [part["text"] for part in content if "text" in part]


def _call(name: str, arguments: dict[str, Any]) -> str:
    parameters = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in arguments.items())
    return f"<function={name}>\n{parameters}</function>"
