"""What the reference checkpoint must be able to do, on held-out questions through the daemon at temperature 0."""

from __future__ import annotations

import pytest

from server.reference.evaluate import evaluate, table
from tests.daemon_process import DaemonProcess

pytestmark = pytest.mark.engine

# What the daemon's other tests lean on. The model card has the scores of the harder tasks as well.
REQUIRED = ("greet", "recall", "sum", "count", "image: color", "tool_call: place", "tool_result: one")
LEAST = 0.95


async def test_held_out_questions(daemon: DaemonProcess) -> None:
    scores = await evaluate(f"{daemon.url}/v1", samples=50)
    print(table(scores))
    every = {(task, mode): score for task, modes in scores.items() for mode, score in modes.items()}
    assert all(score.total == 50 for score in every.values())
    unthoughtful = {key: score.failures for key, score in every.items() if score.thought != score.total}
    assert not unthoughtful
    poor = {key: score.failures for key, score in every.items() if key[0] in REQUIRED and score.share < LEAST}
    assert not poor
