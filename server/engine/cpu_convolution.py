"""Lets vLLM's CPU build prefill a single token.

Its native convolution of Gated DeltaNet wants its input transposed and looks at strides to see that it is. With one
token both readings of the strides are true, the kernel says "expect x to be transposed", and the engine dies: of a
prompt of one token that is prefilled alone. A second column, which no sequence is made of, removes the ambiguity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def ensure() -> None:
    """Puts the check for a single token in front of vLLM's operator, once.

    Must run before the first call of the operator, which comes from vLLM's `mamba/ops/cpu/gdn_attention.py`.
    """
    from vllm import _custom_ops

    operator = getattr(_custom_ops, "causal_conv1d_fwd_cpu", None)
    if operator is not None and not hasattr(operator, "for_one_token"):
        _custom_ops.causal_conv1d_fwd_cpu = for_one_token(operator)


def for_one_token(operator: Callable[..., Any]) -> Callable[..., Any]:
    """The operator, which takes its input as the keyword `x` with a column for each token, made to work for one."""

    def convolve(*, x: Any, **rest: Any) -> Any:
        if x.size(-1) != 1:
            return operator(x=x, **rest)
        two = x.new_zeros((2, x.size(0)))
        two[0] = x[:, 0]
        return operator(x=two.transpose(0, 1), **rest)[:, :1]

    convolve.for_one_token = True  # type: ignore[attr-defined]
    return convolve
