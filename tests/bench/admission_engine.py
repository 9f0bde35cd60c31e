"""Admission on the real engine under open-loop load, beside the same load without it: `make bench-load`.

Everything talks to a daemon of its own on the loopback address, one after the other, each run bounded in time. Figures
are ratios from one run: the machine's own speed cancels out. `--scenario` picks one; each prints JSON at its end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from loadtest.open_loop import Result, Shot, fire, poisson, quantile
from tests.daemon_process import MODEL, DaemonProcess

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "while",
    "it",
    "rained",
    "and",
    "nobody",
    "came",
    "to",
    "see",
    "what",
    "had",
    "become",
    "of",
    "them",
    "all",
]


def chat(number: int, *, words: int = 40, tokens: int = 32, **fields: Any) -> dict[str, Any]:
    """A prompt that no other begins like, and an answer of exactly so many tokens."""
    text = f"{number} " + " ".join(WORDS[(number + place) % len(WORDS)] for place in range(words))
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "enable_thinking": False,
        "stream": True,
        **fields,
    }


@contextlib.contextmanager
def daemon(**settings: Any) -> Iterator[DaemonProcess]:
    """A daemon with these settings, by the names of their environment variables."""
    environment = {f"QWEND_{name}": value if isinstance(value, str) else str(value) for name, value in settings.items()}
    running = DaemonProcess(environment=environment)
    try:
        yield running.wait_ready()
    finally:
        running.stop()


def run(url: str, shots: Sequence[Shot]) -> list[Result]:
    return asyncio.run(fire(url, shots))


def steady(rate: float, seconds: float, seed: int, **fields: Any) -> list[Shot]:
    return [Shot(at, chat(seed * 100_000 + number, **fields)) for number, at in enumerate(poisson(rate, seconds, seed))]


def unloaded(url: str) -> float:
    """Median time to the first token of requests that come one after the other."""
    shots = [Shot(0.4 * number, chat(900_000 + number)) for number in range(30)]
    return statistics.median(result.ttft or 0 for result in run(url, shots)[5:])


def told(results: Sequence[Result], objective: float, seconds: float) -> dict[str, Any]:
    """The figures of one run."""
    ttfts = [result.ttft for result in results if result.ttft is not None]
    codes: dict[str, int] = {}
    for result in results:
        if result.code:
            codes[result.code] = codes.get(result.code, 0) + 1
    refused = [result.total for result in results if result.status not in (0, 200)]
    return {
        "offered": len(results),
        "goodput": round(sum(result.met(objective) for result in results) / seconds, 2),
        "ttft_p50": round(quantile(ttfts, 0.5), 3),
        "ttft_p99": round(quantile(ttfts, 0.99), 3),
        "refused": codes,
        "refusal_p99": round(quantile(refused, 0.99), 4),
        "sender_lag_p99": round(quantile([result.lag for result in results], 0.99), 4),
    }


def show(name: str, figures: Any) -> None:
    print(f"{name:28s} {json.dumps(figures)}", flush=True)


def knee(url: str, objective: float) -> float:
    """The highest rate tried at which 95 % are answered in time, with nothing refused: the engine's own capacity."""
    rate = best = 8.0
    while rate < 200:
        results = run(url, steady(rate, 10, int(rate * 100)))
        met = sum(result.met(objective) for result in results) / len(results)
        show(f"  at {rate:.1f}/s", {"met": round(met, 3), **told(results, objective, 10)})
        if met < 0.95:
            break
        best, rate = rate, rate * 1.25
    return best


def goodput(seconds: float = 60.0) -> dict[str, Any]:
    """Twice the knee: goodput with admission, without it, and with vLLM's own caps, as parts of that at the knee."""
    straight = {"ADMISSION__ENABLED": "false"}
    with daemon(**straight) as plain:
        median = unloaded(plain.url)
        objective = 5 * median
        show("unloaded ttft", {"median": round(median, 4), "objective": round(objective, 4)})
        rate = knee(plain.url, objective)
    ours = {"ADMISSION__CLASSES__STANDARD__TTFT_SECONDS": objective}
    with daemon(**ours) as ready:
        run(ready.url, steady(5, 5, 1))
        at_knee = run(ready.url, steady(rate, seconds / 2, 2))
        figures = {"knee": told(at_knee, objective, seconds / 2)}
        show(f"at the knee, {rate:.1f}/s", figures["knee"])
        running = rate * statistics.mean(result.total for result in at_knee if result.finished)
        shots = steady(2 * rate, seconds, 3)
        figures["ours"] = told(run(ready.url, shots), objective, seconds)
        show("twice the knee, ours", figures["ours"])
    caps = {"max_num_queued_reqs": max(4, round(2 * running)), "max_num_queued_tokens": 2048}
    for name, settings in {
        "straight": straight,
        "caps": {**straight, "ENGINE": json.dumps({k: str(v) for k, v in caps.items()})},
    }.items():
        with daemon(**settings) as other:
            run(other.url, steady(5, 5, 1))
            figures[name] = told(run(other.url, shots), objective, seconds)
            show(f"twice the knee, {name}", figures[name])
    base = figures["knee"]["goodput"]
    ratios = {name: round(figures[name]["goodput"] / base, 3) for name in ("ours", "straight", "caps")}
    return {"knee_per_second": rate, "caps": caps, "of the knee's goodput": ratios}


def tenants_file(weights: dict[str, float]) -> str:
    """A tenants file with a key `key-NAME` for each."""
    tenants = [{"name": name, "weight": weight, "keys": [f"key-{name}"]} for name, weight in weights.items()]
    path = Path(tempfile.mkdtemp(prefix="qwend-bench-")) / "tenants.yaml"
    path.write_text(yaml.safe_dump({"tenants": tenants}))
    return str(path)


SCENARIOS = {"goodput": goodput}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", choices=[*SCENARIOS, "all"], default="all")
    chosen = parser.parse_args().scenario
    results = {}
    for name, scenario in SCENARIOS.items():
        if chosen in ("all", name):
            print(f"== {name}: {scenario.__doc__}", flush=True)
            results[name] = scenario()
            show(name, results[name])
    json.dump(results, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
