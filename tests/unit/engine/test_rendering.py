"""Short chats are tokenised past vLLM's and transformers' layers, to the same tokens, or not so at all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.arguments import model_path
from server.engine.rendering import encoder_of
from server.engine.torchvision_ops import ensure
from server.settings import EMBEDDED

PIECES = ("<|im_start|>", "<|im_end|>", "<think>", "</think>", "<|vision_start|>", "<|endoftext|>", "\n", "  ", "a")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    ensure()
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_path(EMBEDDED))


@settings(deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=20)), max_size=12).map("".join))
def test_any_text_gives_the_tokenizers_own_tokens(tokenizer: Any, text: str) -> None:
    encode = encoder_of(tokenizer)
    assert encode is not None
    assert encode(text) == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_tokenizer_without_that_library_is_asked_as_vllm_asks_it(tokenizer: Any) -> None:
    class Slow:
        def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": [1, 2, 3]}

    assert encoder_of(Slow()) is None


def test_a_tokenizer_that_does_more_than_that_library_is_too(tokenizer: Any) -> None:
    class Lowering:
        backend_tokenizer = tokenizer.backend_tokenizer

        def __call__(self, text: str, *, add_special_tokens: bool) -> Any:
            found = self.backend_tokenizer.encode(text.lower(), add_special_tokens=add_special_tokens)
            return {"input_ids": found.ids}

    assert encoder_of(Lowering()) is None
    assert encoder_of(SimpleNamespace()) is None
