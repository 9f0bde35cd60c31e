"""`make fit-simulator`: fits the simulated engine's a, b and c to the real one, and says how far the two are apart.

Runs the reference checkpoint's engine in this process, without the daemon around it. One random trace of three loads is
for the fit; the error is that of another trace, played to the real engine and to the simulated one.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadtest.arrivals import steps
from loadtest.simulation.run import World, simulate
from loadtest.simulation.scenarios import FITTED
from loadtest.simulation.workload import Lengths, Request, Source
from server.admission.policy.engine_model import StepCosts
from server.engine.arguments import apply_environment, engine_arguments
from server.engine.child_processes import prepare_children
from server.engine.torchvision_ops import ensure
from server.generation.engine_state import EngineSize
from server.settings import load

PROFILE = "reference-cpu"
# Requests a second, from idle to more than the engine can do, for so long each.
LEVELS = ((0.0, 3.0), (12.0, 12.0), (24.0, 45.0), (30.0, 0.0))
SECONDS = 30.0
PROMPT, OUTPUT = Lengths(220, 1.0, least=8, most=3000), Lengths(40, 0.7, least=2, most=200)
# A sequence's blocks beside those of its tokens (a hybrid model's recurrent state).
CONSTANT_BLOCKS = 6


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the real engine."""

    seconds: float
    tokens: int
    kv_tokens: float


@dataclass(frozen=True, slots=True)
class Timing:
    """One request's times on the real engine, in seconds from when it came."""

    first_token: float
    end: float


class Recorder:
    """vLLM's statistics, step by step."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.kv_tokens = 0

    def record(self, scheduler: Any) -> None:
        """One step; what vLLM tells of it besides the common statistics has its exact tokens and its time."""
        details = getattr(scheduler, "iteration_details", None)
        if details is None or details.is_dummy:
            return
        tokens = details.num_ctx_tokens + details.num_generation_tokens
        if tokens:
            used = scheduler.kv_cache_usage * self.kv_tokens
            self.steps.append(Step(details.elapsed_ms / 1000, tokens, used))


def build(recorder: Recorder) -> tuple[Any, EngineSize]:
    """The engine, which tells `recorder` its steps, and its size."""
    settings = load(PROFILE, {"log": {"engine_level": "warning"}})
    apply_environment(settings)
    prepare_children()
    ensure()
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.metrics.loggers import StatLoggerBase

    class Logger(StatLoggerBase):
        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
            pass

        def record(self, scheduler_stats: Any, iteration_stats: Any, *rest: Any, **named: Any) -> None:
            recorder.record(scheduler_stats)

        def log_engine_initialized(self) -> None:
            pass

    arguments = {**engine_arguments(settings), "enable_logging_iteration_details": True}
    del arguments["structured_outputs_config"]
    config = AsyncEngineArgs(**arguments).create_engine_config()
    llm = AsyncLLM.from_vllm_config(config, stat_loggers=[Logger])
    cache, scheduler = llm.vllm_config.cache_config, llm.vllm_config.scheduler_config
    size = EngineSize(
        sequences=scheduler.max_num_seqs,
        step_tokens=scheduler.max_num_batched_tokens,
        blocks=cache.num_gpu_blocks,
        block_tokens=cache.block_size,
        constant_blocks=CONSTANT_BLOCKS,
        max_model_len=llm.model_config.max_model_len,
    )
    recorder.kv_tokens = size.kv_tokens
    return llm, size


def trace(seed: int) -> list[Request]:
    """Requests of the three loads."""
    source = Source("fit", steps(LEVELS), PROMPT, OUTPUT)
    return list(source.requests(seed, SECONDS))


async def play(llm: Any, requests: list[Request], seed: int) -> list[Timing]:
    """Plays a trace to the real engine, at its pace."""
    rng = random.Random(seed)
    started = time.monotonic()

    async def one(number: int, request: Request) -> Timing:
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        params = SamplingParams(
            max_tokens=request.output,
            ignore_eos=True,
            temperature=0.0,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        # Different from each other, so that nothing is in the prefix cache.
        prompt = {"prompt_token_ids": [rng.randrange(10, 400) for _ in range(request.prompt)]}
        await asyncio.sleep(max(0.0, started + request.at - time.monotonic()))
        came, first = time.monotonic(), 0.0
        async for _ in llm.generate(prompt, params, request_id=f"fit-{seed}-{number}"):
            first = first or time.monotonic() - came
        return Timing(first, time.monotonic() - came)

    return await asyncio.gather(*(one(number, request) for number, request in enumerate(requests)))


def least_squares(steps_: list[Step]) -> StepCosts:
    """a, b and c, none of them negative; the longest steps of a hundred, which are stalls, are left out."""
    longest = np.quantile([each.seconds for each in steps_], 0.99)
    kept = [each for each in steps_ if each.seconds <= longest]
    features = np.array([(1.0, each.tokens, each.kv_tokens) for each in kept])
    seconds = np.array([each.seconds for each in kept])
    # Each step counts by the error as part of it; few are long, and most of the time is in those.
    weights = 1 / np.sqrt(seconds)
    for columns in ([0, 1, 2], [0, 1], [1]):
        found, *_ = np.linalg.lstsq(features[:, columns] * weights[:, None], seconds * weights, rcond=None)
        if (found >= 0).all():
            costs = [0.0, 0.0, 0.0]
            for column, value in zip(columns, found, strict=True):
                costs[column] = float(value)
            return StepCosts(*costs)
    raise ValueError("The steps say nothing of what they cost.")


def relative_error(real: list[float], simulated: list[float]) -> float:
    """Median of the error as part of the real time."""
    return statistics.median(abs(b - a) / a for a, b in zip(real, simulated, strict=True))


async def main() -> None:
    """Fits, compares, prints and writes fitted.json."""
    recorder = Recorder()
    llm, size = await asyncio.to_thread(build, recorder)
    try:
        await play(llm, trace(0)[:8], 0)  # the first steps are slower than all others
        recorder.steps.clear()
        await play(llm, trace(1), 1)
        costs, count = least_squares(recorder.steps), len(recorder.steps)
        compared = trace(2)
        real = await play(llm, compared, 2)
    finally:
        await asyncio.to_thread(llm.shutdown)
    attempts = simulate(World(size, costs), compared, "unbounded FCFS", SECONDS, 600.0).attempts
    ttft = relative_error([each.first_token for each in real], [each.ttft or 0.0 for each in attempts])
    total = relative_error([each.end for each in real], [(each.ended or 0.0) - each.arrived for each in attempts])
    real_p99 = float(np.quantile([each.first_token for each in real], 0.99))
    found = {
        "fixed_seconds": costs.fixed,
        "token_seconds": costs.token,
        "kv_token_seconds": costs.kv_token,
        "steps": count,
        "requests_compared": len(compared),
        "ttft_median_relative_error": round(ttft, 3),
        "total_median_relative_error": round(total, 3),
        "ttft_p99_real": round(real_p99, 3),
        "ttft_p99_simulated": round(float(np.quantile([each.ttft or 0.0 for each in attempts], 0.99)), 3),
        "blocks": size.blocks,
        "block_tokens": size.block_tokens,
        "sequences": size.sequences,
        "step_tokens": size.step_tokens,
    }
    FITTED.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
