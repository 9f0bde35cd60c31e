"""vLLM's native convolution for one token; needs torch, but no engine."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from server.engine.cpu_convolution import for_one_token


def native(*, x: torch.Tensor, scale: float) -> torch.Tensor:
    """As strict as the real one: transposed, and seen to be so."""
    if x.is_contiguous() or not x.transpose(0, 1).is_contiguous():
        raise RuntimeError("expect x to be transposed")
    return x * scale


@pytest.mark.parametrize("tokens", [1, 2, 3])
def test_any_number_of_tokens_goes_through_and_keeps_its_shape(tokens: int) -> None:
    x = torch.arange(4.0 * tokens).reshape(tokens, 4).transpose(0, 1)
    out = for_one_token(native)(x=x, scale=2.0)
    assert out.shape == (4, tokens)
    assert torch.equal(out, x * 2.0)


def test_one_token_is_what_it_is_for() -> None:
    one: Any = torch.ones(1, 4).transpose(0, 1)
    with pytest.raises(RuntimeError, match="transposed"):
        native(x=one, scale=1.0)
