"""Scores a running daemon on what the reference checkpoint has learned, through the chat completions endpoint.

    python -m server.reference.evaluate --base-url http://127.0.0.1:8000/v1 --samples 50

Names, cities and sums are ones that training never saw. Temperature is 0 and every question has one right answer, so
an answer counts only if it is equal. Exits with 1 if a task scores below the threshold.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import itertools
import json
import random
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from server.reference.conversation import Message, Sample
from server.reference.tasks import sample
from server.reference.tool_tasks import family

# Skill -> the rows of the table that its samples fall into; each row gets as many questions as the others.
TASKS: dict[str, tuple[str, ...]] = {
    "greet": ("greet",),
    "recall": ("recall",),
    "sum": ("sum",),
    "count": ("count",),
    "image": ("image: color", "image: shape", "image: describe"),
    "tool_call": ("tool_call: place", "tool_call: other", "tool_call: two"),
    "tool_result": ("tool_result: one", "tool_result: two"),
}

_MOST_TOKENS = 500
_FAILURES_SHOWN = 3


@dataclass(slots=True)
class Score:
    """Of one task's answers: how many were right, how many thought just when asked to; and some that failed."""

    right: int = 0
    thought: int = 0
    total: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Right answers among all."""
        return self.right / self.total if self.total else 0.0

    def add(self, verdict: Verdict) -> None:
        """Counts one answer."""
        self.total += 1
        self.right += not verdict.wrong
        self.thought += verdict.thought
        if verdict.wrong and len(self.failures) < _FAILURES_SHOWN:
            self.failures.append(verdict.wrong)


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one answer. `thought`: thinking was closed and not empty when on, absent when off. `wrong`: what was."""

    thought: bool
    wrong: str = ""


async def evaluate(
    base_url: str, samples: int = 50, *, seed: int = 0, concurrency: int = 8, api_key: str | None = None
) -> dict[str, dict[str, Score]]:
    """Asks `samples` held-out questions of each task, thinking and not. Scores by task, `thinking` or `direct`."""
    scores: dict[str, dict[str, Score]] = defaultdict(lambda: {"thinking": Score(), "direct": Score()})
    free = asyncio.Semaphore(concurrency)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    async with httpx.AsyncClient(base_url=base_url.rstrip("/") + "/", headers=headers, timeout=120) as client:
        model = (await client.get("models")).raise_for_status().json()["data"][0]["id"]

        async def ask(made: Sample, thinking: bool) -> None:
            async with free:
                response = await client.post("chat/completions", json=request(model, made, thinking=thinking))
            scores[task_of(made)]["thinking" if thinking else "direct"].add(judge(response, made, thinking=thinking))

        await asyncio.gather(*(ask(made, thinking) for made, thinking in questions(samples, seed)))
    return {task: scores[task] for task in sorted(scores)}


def questions(samples: int, seed: int) -> list[tuple[Sample, bool]]:
    """The questions, and for each whether to think: the same for the same seed."""
    asked = []
    for skill, tasks in TASKS.items():
        for task in tasks:
            # A generator of its own for each task: a change to one leaves the others' questions as they are.
            rng = random.Random(f"{seed}/{task}")
            made = (sample(rng, "held-out", skill) for _ in itertools.count())
            wanted = itertools.islice((each for each in made if task_of(each) == task), 2 * samples)
            asked += [(each, index < samples) for index, each in enumerate(wanted)]
    return asked


def task_of(made: Sample) -> str:
    """The row of the table: the skill; for images what is asked about them, for tools what for."""
    if made.skill == "image":
        if made.content.startswith("A "):
            return "image: describe"
        return "image: shape" if "shape" in made.content or made.content.startswith("It is a ") else "image: color"
    if made.skill == "tool_result":
        return (
            "tool_result: two"
            if [message["role"] for message in made.messages[-2:]] == ["tool"] * 2
            else ("tool_result: one")
        )
    if made.skill == "tool_call":
        if len(made.calls) > 1:
            return "tool_call: two"
        return "tool_call: place" if family(made.calls[0][0]) in ("weather", "time") else "tool_call: other"
    return made.skill


def request(model: str, made: Sample, *, thinking: bool) -> dict[str, Any]:
    """The sample as a client would send it."""
    images = iter(made.images)
    body: dict[str, Any] = {
        "model": model,
        "messages": [_wire(message, images) for message in made.messages],
        "temperature": 0,
        "max_tokens": _MOST_TOKENS,
        "chat_template_kwargs": {"enable_thinking": thinking},
    }
    return body | {"tools": made.tools} if made.tools else body


def _wire(message: Message, images: Any) -> Message:
    message = dict(message)
    if isinstance(message["content"], list):
        message["content"] = [
            {"type": "image_url", "image_url": {"url": _data_url(next(images))}} if part["type"] == "image" else part
            for part in message["content"]
        ]
    if thought := message.pop("reasoning_content", None):
        message["reasoning"] = thought
    if calls := message.get("tool_calls"):
        message["tool_calls"] = [
            call | {"function": call["function"] | {"arguments": json.dumps(call["function"]["arguments"])}}
            for call in calls
        ]
    return message


def _data_url(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def judge(response: httpx.Response, made: Sample, *, thinking: bool) -> Verdict:
    """Compares an answer with the one right answer."""
    question = str(made.messages[-1]["content"])[:120]
    if response.status_code != 200:
        return Verdict(thought=False, wrong=f"{question!r}: status {response.status_code}: {response.text[:200]}")
    choice = response.json()["choices"][0]
    message = choice["message"]
    content, thought = message.get("content") or "", message.get("reasoning") or ""
    got: dict[str, Any] = {
        "content": content,
        "calls": [
            (call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls") or []
        ],
        "finish": choice["finish_reason"],
        # Thinking that was never closed leaves nothing for the answer.
        "thought": bool(thought) and bool(content or message.get("tool_calls")) and "think>" not in content + thought,
    }
    want: dict[str, Any] = {
        "content": made.content,
        "calls": made.calls,
        "finish": "tool_calls" if made.calls else "stop",
        "thought": thinking,
    }
    wrong = ", ".join(f"{name} {got[name]!r} for {want[name]!r}" for name in want if got[name] != want[name])
    return Verdict(got["thought"] == thinking, f"{question!r}: {wrong}" if wrong else "")


def table(scores: dict[str, dict[str, Score]]) -> str:
    """The scores as a Markdown table."""
    lines = ["| task | thinking | direct |", "| --- | --- | --- |"]
    for task, modes in scores.items():
        cells = (f"{modes[mode].right}/{modes[mode].total}" for mode in ("thinking", "direct"))
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Evaluates, prints the table and some failures, and says by its status whether all tasks reached the threshold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--api-key")
    parser.add_argument("--samples", type=int, default=50, help="questions per task, thinking and direct each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--threshold", type=float, default=0.95)
    parser.add_argument("--json", type=Path, help="file to write the scores to")
    options = parser.parse_args()
    scores = asyncio.run(
        evaluate(
            options.base_url,
            options.samples,
            seed=options.seed,
            concurrency=options.concurrency,
            api_key=options.api_key,
        )
    )
    print(table(scores))
    every = [(task, mode, score) for task, modes in scores.items() for mode, score in modes.items()]
    for task, mode, score in every:
        for failure in score.failures:
            print(f"{task}, {mode}: {failure}")
    if options.json:
        shares = {task: {mode: score.share for mode, score in modes.items()} for task, modes in scores.items()}
        options.json.write_text(json.dumps(shares, indent=1) + "\n", encoding="utf-8")
    sys.exit(any(score.total and score.share < options.threshold for _, _, score in every))


if __name__ == "__main__":
    main()
