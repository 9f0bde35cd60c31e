"""The floor: `AsyncLLM` alone, with no HTTP in front of it, as vLLM's documentation uses it.

    python -m tests.bench.frontend.floor PROFILE

Reads a load as one line of JSON on its standard input, answers it with one line, and so on until the input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from array import array
from dataclasses import asdict
from typing import Any

from server.engine.arguments import apply_environment, engine_arguments
from server.engine.child_processes import prepare_children
from server.engine.nested_configs import with_configs
from server.engine.torchvision_ops import ensure
from server.settings import load
from tests.bench.frontend.load_client import Load, Result, quantiles


class Floor:
    """One load after another over one engine."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm
        self._number = 0

    async def run(self, load: Load) -> Result:
        result, ttft, itl = Result(), array("d"), array("d")
        left = iter(range(load.requests))
        began, cpu = time.perf_counter(), time.process_time()

        async def one_after_another() -> None:
            for number in left:
                await self._answer(load, number, result, ttft, itl)

        await asyncio.gather(*(one_after_another() for _ in range(load.streams)))
        result.wall, result.client_cpu = time.perf_counter() - began, time.process_time() - cpu
        result.ttft, result.itl = quantiles(ttft), quantiles(itl)
        return result

    async def _answer(self, load: Load, number: int, result: Result, ttft: array[float], itl: array[float]) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._number += 1
        kind = RequestOutputKind.DELTA if load.body.get("stream") else RequestOutputKind.FINAL_ONLY
        params = SamplingParams(
            max_tokens=load.body["max_tokens"], ignore_eos=True, temperature=load.body["temperature"], output_kind=kind
        )
        sent, last, made = time.perf_counter(), 0.0, 0
        prompt = f"<|im_start|>user\nTell me story number {number} please<|im_end|>\n<|im_start|>assistant\n"
        async for output in self._llm.generate(prompt, params, f"floor-{self._number}"):
            now = time.perf_counter()
            made += len(output.outputs[0].token_ids)
            result.frames += 1
            if last:
                itl.append(now - last)
            else:
                ttft.append(now - sent)
            last = now
        result.tokens += made


async def main() -> None:
    settings = load(sys.argv[1])
    apply_environment(settings)
    prepare_children()
    ensure()
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    config = AsyncEngineArgs(**with_configs(engine_arguments(settings))).create_engine_config()
    floor = Floor(AsyncLLM.from_vllm_config(config))
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(asdict(await floor.run(Load(**json.loads(line))))), flush=True)
    floor._llm.shutdown()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
