"""From the core's sampling to vLLM's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.generation.conversation import Sampling


def sampling_params(sampling: Sampling, defaults: Mapping[str, Any], max_tokens: int) -> Any:
    """vLLM's SamplingParams; `defaults` are the checkpoint's own, used where neither request nor profile say.

    Streams and whole answers alike ask for deltas: there is one road, and the whole answer is put together at its end.
    """
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    chosen = {
        name: value
        for name in (
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "presence_penalty",
            "frequency_penalty",
            "repetition_penalty",
        )
        if (value := _first(getattr(sampling, name), defaults.get(name))) is not None
    }
    return SamplingParams(
        **chosen,
        seed=sampling.seed,
        stop=list(sampling.stop) or None,
        max_tokens=max_tokens,
        min_tokens=sampling.min_tokens,
        ignore_eos=sampling.ignore_eos,
        # The markers of thinking and tool calls are the parser's to read; they may be special tokens in a checkpoint.
        skip_special_tokens=False,
        output_kind=RequestOutputKind.DELTA,
        # We hand over a fresh one each time, so that vLLM need not copy it.
        skip_clone=True,
    )


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
