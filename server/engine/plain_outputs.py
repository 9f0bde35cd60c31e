"""A shorter way through vLLM's output processor for what nearly all outputs are: more tokens of an answer, and no more.

For each of them vLLM makes a RequestOutput and a CompletionOutput, hands them to the request's collector, and they are
taken apart again. Here the text goes to the stream at once. Detokenising and the metrics are vLLM's own; whatever else
an output brings (its first token, its end, log probabilities, events), or its request asks for (several answers, stop
strings), takes vLLM's way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol


class TakesTokens(Protocol):
    """Who is told of tokens, in the place of vLLM's collector."""

    def put_tokens(self, text: str, token_ids: Sequence[int]) -> None:
        """The request's only answer has these tokens more, and goes on."""


def shorten(processor: Any) -> None:
    """Puts the shorter way before `processor.process_outputs` (vLLM's OutputProcessor, 0.32).

    It is taken for requests whose collector has a `takes_tokens`.
    """
    processor.process_outputs = shorter_way(processor)


def shorter_way(processor: Any) -> Callable[..., Any]:
    """What does as `processor.process_outputs` does."""
    from vllm.v1.engine import EngineCoreOutput

    whole = processor.process_outputs
    # A mapping for good: vLLM adds to it and takes from it.
    states = processor.request_states

    def process_outputs(
        outputs: Sequence[Any],
        engine_core_timestamp: float | None = None,
        iteration_stats: Any = None,
        weight_version: str | None = None,
    ) -> Any:
        others = []
        tokens = 0
        for output in outputs:
            state = states.get(output.request_id)
            if state is None:
                continue  # it was aborted
            takes: TakesTokens | None = getattr(state.queue, "takes_tokens", None)
            token_ids = output.new_token_ids
            if (
                takes is None
                or state.is_prefilling
                or not token_ids
                # An array, which cannot be compared as the others can.
                or output.routed_experts is not None
                # Whatever fields an output has: nothing is said but its tokens.
                or output != EngineCoreOutput(output.request_id, token_ids)
            ):
                others.append(output)
                continue
            if iteration_stats is not None:
                tokens += len(token_ids)
                stats = state.stats
                stats.num_generation_tokens += len(token_ids)
                iteration_stats.inter_token_latencies_iter.append(engine_core_timestamp - stats.last_token_ts)
                stats.last_token_ts = engine_core_timestamp
            detokenizer = state.detokenizer
            detokenizer.update(token_ids, False)
            takes.put_tokens(detokenizer.get_next_output_text(False, True), token_ids)
        if iteration_stats is not None:
            iteration_stats.num_generation_tokens += tokens
        return whole(others, engine_core_timestamp, iteration_stats, weight_version=weight_version)

    return process_outputs


def is_plain(state: Any) -> bool:
    """Whether a request's outputs may go the shorter way (vLLM's RequestState)."""
    return (
        state.parent_req is None
        and state.stream_interval == 1
        and not state.streaming_input
        and getattr(state.detokenizer, "stop", None) == []
        and state.logprobs_processor.num_logprobs is None
    )
