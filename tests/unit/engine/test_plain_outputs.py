"""The shorter way through vLLM's output processor gives what vLLM's own gives: the same outputs, told to both."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from server.engine.plain_outputs import is_plain, shorter_way
from server.engine.torchvision_ops import ensure

CHECKPOINT = Path(__file__).parents[3] / "server" / "reference" / "checkpoint"
# "bare" is plain too, and its first output says nothing but its tokens.
KINDS = ("plain", "bare", "stop string", "logprobs", "plain")
PLAIN = ("plain", "bare")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    ensure()
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(CHECKPOINT))


class Heard:
    """Stands where a request's collector stands, and keeps all that it was told."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.text = ""
        self.token_ids: list[int] = []
        self.ended: str | None = None
        self.shorter = 0

    def put(self, output: Any) -> None:
        (completion,) = output.outputs
        self.text += completion.text
        self.token_ids += completion.token_ids
        self.ended = completion.finish_reason or self.ended

    def put_tokens(self, text: str, token_ids: list[int]) -> None:
        self.shorter += 1
        self.text += text
        self.token_ids += token_ids


class Side:
    """One output processor and what its requests were told."""

    def __init__(self, tokenizer: Any, *, shorter: bool) -> None:
        from vllm.v1.engine.output_processor import OutputProcessor

        self.processor = OutputProcessor(tokenizer, log_stats=True, stream_interval=1)
        self.process = shorter_way(self.processor) if shorter else self.processor.process_outputs
        self.heard: dict[str, Heard] = {}
        self.stats: dict[str, Any] = {}
        self._shorter = shorter

    def add(self, request_id: str, kind: str) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine import EngineCoreRequest

        params = SamplingParams(
            max_tokens=1000,
            output_kind=RequestOutputKind.DELTA,
            stop=["blue", " the"] if kind == "stop string" else None,
            logprobs=1 if kind == "logprobs" else None,
        )
        heard = self.heard[request_id] = Heard(request_id)
        request = EngineCoreRequest(
            request_id, [5, 6, 7], None, params, None, 0.0, None, None, None, external_req_id=request_id
        )
        self.processor.add_request(request, None, queue=heard)
        state = self.processor.request_states[request_id]
        self.stats[request_id] = state.stats
        assert is_plain(state) == (kind in PLAIN)
        if self._shorter and is_plain(state):
            heard.takes_tokens = heard  # type: ignore[attr-defined]

    def step(self, outputs: list[Any], timestamp: float) -> tuple[int, list[float], list[float], list[str], list[str]]:
        """What the step's statistics say, and who is to be aborted."""
        from vllm.v1.metrics.stats import IterationStats

        stats = IterationStats()
        stats.iteration_timestamp = timestamp
        done = self.process(outputs, timestamp, stats, weight_version="default")
        return (
            stats.num_generation_tokens,
            sorted(stats.inter_token_latencies_iter),
            sorted(stats.time_to_first_tokens_iter),
            sorted(done.reqs_to_abort),
            sorted(map(repr, stats.finished_requests)),
        )


def output(request_id: str, token_ids: list[int], kind: str, *, first: bool, last: str | None) -> Any:
    import numpy as np
    from vllm.v1.engine import EngineCoreEvent, EngineCoreEventType, EngineCoreOutput, FinishReason
    from vllm.v1.metrics.stats import PrefillStats
    from vllm.v1.outputs import LogprobsLists

    told = EngineCoreOutput(request_id, list(token_ids))
    if first and kind != "bare":
        told.prefill_stats = PrefillStats(num_prompt_tokens=3, num_computed_tokens=3)
        told.events = [EngineCoreEvent(EngineCoreEventType.QUEUED, 0.5)]
    if last is not None:
        told.finish_reason = FinishReason.STOP if last == "stop" else FinishReason.LENGTH
    if kind == "logprobs":
        ids = np.array([[token, 9] for token in token_ids], dtype=np.int32)
        told.new_logprobs = LogprobsLists(ids, np.zeros(ids.shape, dtype=np.float32), np.ones(len(ids), dtype=np.int32))
    return told


@pytest.mark.parametrize("seed", range(12))
def test_both_ways_tell_the_same(tokenizer: Any, seed: int) -> None:
    drawn = random.Random(seed)
    sides = [Side(tokenizer, shorter=shorter) for shorter in (False, True)]
    words = "Hello blue the naïve café 你好 🙂🎉 über \n\n 42 tree"
    ids = tokenizer.encode(words, add_special_tokens=False)
    assert any("\ufffd" in tokenizer.decode([each]) for each in ids), "some characters are of several tokens"
    kinds = {f"r{number}": kind for number, kind in enumerate(KINDS)}
    for request_id, kind in kinds.items():
        for side in sides:
            side.add(request_id, kind)
    left = {request_id: drawn.randrange(3, 40) for request_id in kinds}
    begun: set[str] = set()
    for step in range(1, 60):
        outputs: list[list[Any]] = [[], []]
        for request_id in [each for each in kinds if each in left and drawn.random() < 0.8]:
            token_ids = [drawn.choice(ids) for _ in range(drawn.choice((1, 1, 1, 2, 4)))]
            left[request_id] -= 1
            ended = None if left[request_id] else drawn.choice(("stop", "length"))
            said = {"first": request_id not in begun, "last": ended}
            begun.add(request_id)
            for made in outputs:
                made.append(output(request_id, token_ids, kinds[request_id], **said))
            if ended is not None:
                del left[request_id]
        told = [side.step(made, float(step)) for side, made in zip(sides, outputs, strict=True)]
        assert told[0] == told[1]
        if left and drawn.random() < 0.03:
            gone = drawn.choice(list(left))
            for side in sides:
                side.processor.abort_requests([gone], internal=True)
        for request_id in list(left):
            assert (request_id in sides[0].processor.request_states) == (
                request_id in sides[1].processor.request_states
            )
    whole, short = sides
    for request_id, kind in kinds.items():
        one, other = whole.heard[request_id], short.heard[request_id]
        assert (one.text, one.token_ids, one.ended) == (other.text, other.token_ids, other.ended), request_id
        assert vars(whole.stats[request_id]) == vars(short.stats[request_id])
        assert bool(other.shorter) == (kind in PLAIN)
        assert one.shorter == 0


def test_what_an_output_says_beside_its_tokens_is_not_lost(tokenizer: Any) -> None:
    import numpy as np

    side = Side(tokenizer, shorter=True)
    side.add("r", "plain")
    side.step([output("r", [8], "plain", first=True, last=None)], 1.0)
    routed = output("r", [9, 10], "plain", first=False, last=None)
    # An array of several numbers is neither true nor false.
    routed.routed_experts = np.zeros((2, 3), dtype=np.int16)
    side.step([routed], 2.0)
    assert side.heard["r"].shorter == 0
    assert len(side.processor.request_states["r"].routed_experts_chunks) == 1
