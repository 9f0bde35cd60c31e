"""Answers the questions of greedy.py with the engine of a profile, and prints the tokens and what was drafted as JSON.

python -m tests.engine.speculating PROFILE.yaml
"""

from __future__ import annotations

import asyncio
import json
import sys

from prometheus_client import REGISTRY

from server.engine.client import VllmEngine
from server.engine.startup_phases import StartupPhases
from server.generation.conversation import Sampling
from server.generation.ports import Order
from server.settings import load
from tests.engine.greedy import QUESTIONS


class NotWarmedUp(VllmEngine):
    """The daemon's engine, but for its first answers, of which one draws with `top_k`."""

    async def _warm_up(self, *, images: bool) -> None:
        pass


async def answer(engine: VllmEngine, number: int, question: str) -> list[int]:
    prompt = await engine.render([{"role": "user", "content": question}], tools=[], template_arguments={})
    stream = await engine.submit(f"q{number}", prompt, Order(Sampling(temperature=0.0), max_tokens=100, thinking=True))
    made: list[int] = []
    finished = False
    while not finished:
        for delta in await stream.next():
            made += delta.token_ids
            finished = delta.finish_reason is not None
    return made


def counted(metric: str) -> float:
    found = (sample for family in REGISTRY.collect() for sample in family.samples)
    return sum(sample.value for sample in found if sample.name == metric)


async def main(profile: str) -> None:
    engine = await NotWarmedUp.start(load(profile), StartupPhases(lambda phase, seconds: None))
    try:
        tokens = [await answer(engine, number, question) for number, question in enumerate(QUESTIONS)]
        drafted, accepted = (counted(f"vllm:spec_decode_num_{kind}_tokens_total") for kind in ("draft", "accepted"))
    finally:
        await engine.stop(5)
    print(json.dumps({"tokens": tokens, "drafted": drafted, "accepted": accepted}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
