"""From the core's order to vLLM's sampling parameters."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from server.engine.constraints import structured_outputs
from server.generation.ports import Order


def sampling_params(order: Order, defaults: Mapping[str, Any]) -> Any:
    """vLLM's SamplingParams; `defaults` are the checkpoint's own, used where neither request nor profile say.

    Streams and whole answers alike ask for deltas: there is one road, and the whole answer is put together at its end.
    """
    from vllm.sampling_params import RequestOutputKind

    sampling = order.sampling
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
    if order.answers > 1 and chosen.get("temperature") == 0:
        # vLLM refuses several greedy answers, which OpenAI's API gives. The likeliest token alone is the same draw.
        chosen |= {"temperature": 1.0, "top_k": 1, "top_p": 1.0, "min_p": 0.0}
    return checked_params()(
        **chosen,
        n=order.answers,
        seed=sampling.seed,
        stop=list(sampling.stop) or None,
        stop_token_ids=list(sampling.stop_token_ids) or None,
        include_stop_str_in_output=sampling.include_stop,
        logit_bias=None if sampling.logit_bias is None else dict(sampling.logit_bias),
        logprobs=sampling.logprobs,
        structured_outputs=structured_outputs(order),
        thinking_token_budget=order.thinking_budget,
        max_tokens=order.max_tokens,
        min_tokens=sampling.min_tokens,
        ignore_eos=sampling.ignore_eos,
        # The markers of thinking and tool calls are the parser's to read; they may be special tokens in a checkpoint.
        skip_special_tokens=sampling.skip_special_tokens,
        output_kind=RequestOutputKind.DELTA,
        # We hand over a fresh one each time, so that vLLM need not copy it.
        skip_clone=True,
    )


@functools.cache
def checked_params() -> Any:
    """vLLM's SamplingParams with a grammar that has been validated: vLLM would do it again, on the event loop."""
    from vllm.sampling_params import SamplingParams

    class CheckedParams(SamplingParams):  # type: ignore[misc]
        """Call `validate_grammar`, in a thread, before vLLM gets it."""

        def validate_grammar(self, *configuration: Any) -> None:
            """vLLM's own validation, which also prepares the parameters. Raises what vLLM raises."""
            super()._validate_structured_outputs(*configuration)

        def _validate_structured_outputs(self, *configuration: Any) -> None:
            pass

    return CheckedParams


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
