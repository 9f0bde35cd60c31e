"""Admission on the real engine under open-loop load, beside the same load without it: `make bench-load`.

Everything talks to a daemon of its own on the loopback address, one after the other, each run bounded in time. Figures
are ratios from one run: the machine's own speed cancels out. `--scenario` picks one; each prints JSON at its end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import httpx
import yaml

from loadtest import arrivals
from loadtest.measures import verdict
from loadtest.record import Record, Shot
from loadtest.scenario_schema import Objective
from loadtest.sender import fire
from loadtest.statistics import quantile
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


def chat(number: int, *, words: int = 40, tokens: int = 96, **fields: Any) -> dict[str, Any]:
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


def run(url: str, shots: Sequence[Shot]) -> list[Record]:
    return asyncio.run(fire(url, shots))


def met(record: Record, objective: float) -> bool:
    """Whether the whole answer came, and its first token in time."""
    return verdict(record, Objective(ttft=objective)) == "met"


def steady(
    rate: float, seconds: float, seed: int, *, tenant: str = "", label: str = "", retries: int = 0, **fields: Any
) -> list[Shot]:
    """Poisson arrivals, of a tenant by its key."""
    headers = {"authorization": f"Bearer {key(tenant)}"} if tenant else {}
    return [
        Shot(at, chat(seed * 100_000 + number, **fields), label or tenant, headers, retries=retries)
        for number, at in enumerate(arrivals.poisson(rate)(random.Random(seed), seconds))
    ]


def unloaded(url: str) -> tuple[float, float]:
    """Median seconds to the first token, and between tokens, of requests that come one after the other."""
    results = run(url, [Shot(1.0 * number, chat(900_000 + number)) for number in range(20)])[5:]
    between = [later - sooner for each in results for sooner, later in itertools.pairwise(each.times)]
    return statistics.median(result.ttft or 0 for result in results), statistics.median(between)


def told(results: Sequence[Record], objective: float, seconds: float) -> dict[str, Any]:
    """The figures of one run."""
    ttfts = [result.ttft for result in results if result.ttft is not None]
    codes: dict[str, int] = {}
    for result in results:
        if result.code:
            codes[result.code] = codes.get(result.code, 0) + 1
    refused = [result.e2e for result in results if result.status not in (0, 200)]
    return {
        "offered": len(results),
        "goodput": round(sum(met(result, objective) for result in results) / seconds, 2),
        "ttft_p50": round(quantile(ttfts, 0.5), 3),
        "ttft_p99": round(quantile(ttfts, 0.99), 3),
        "refused": codes,
        "refusal_p99": round(quantile(refused, 0.99), 4),
        "sender_lag_p99": round(quantile([result.lag for result in results], 0.99), 4),
    }


def show(name: str, figures: Any) -> None:
    print(f"{name:28s} {json.dumps(figures)}", flush=True)


def knee(url: str, objective: float) -> tuple[float, float]:
    """The engine's own capacity: the highest rate tried at which 95 % are answered in time, and the part that is."""
    rate = best = 4.0
    part, missed = 1.0, 0
    while rate < 200 and missed < 2:
        results = run(url, steady(rate, 10, int(rate * 100)))
        met = sum(met(result, objective) for result in results) / len(results)
        show(f"  at {rate:.1f}/s", {"met": round(met, 3), **told(results, objective, 10)})
        # Once may be the machine's doing.
        best, part, missed = (rate, met, 0) if met >= 0.95 else (best, part, missed + 1)
        rate *= 1.25
    return best, part


def goodput(seconds: float = 60.0) -> dict[str, Any]:
    """Twice the knee: goodput with admission, without it, and with vLLM's own caps, as parts of that at the knee."""
    straight = {"ADMISSION__ENABLED": "false"}
    with daemon(**straight) as plain:
        median, _ = unloaded(plain.url)
        objective = 5 * median
        show("unloaded ttft", {"median": round(median, 4), "objective": round(objective, 4)})
        rate, part = knee(plain.url, objective)
    ours = {"ADMISSION__CLASSES__STANDARD__TTFT_SECONDS": objective}
    with daemon(**ours) as ready:
        run(ready.url, steady(5, 5, 1))
        at_knee = run(ready.url, steady(rate, seconds / 2, 2))
        figures = {"knee": told(at_knee, objective, seconds / 2)}
        show(f"at the knee, {rate:.1f}/s", figures["knee"])
        running = rate * statistics.mean(result.e2e for result in at_knee if result.finished)
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
    # What the engine can do by itself; with admission it may be less or, as the load varies, more.
    base = max(rate * part, figures["knee"]["goodput"])
    ratios = {name: round(figures[name]["goodput"] / base, 3) for name in ("ours", "straight", "caps")}
    return {"knee_per_second": rate, "knee_goodput": round(base, 2), "caps": caps, "of the knee's goodput": ratios}


def key(tenant: str) -> str:
    return f"key-of-the-tenant-{tenant}"


def tenants_file(weights: dict[str, float]) -> str:
    """A tenants file with a key for each."""
    tenants = [{"name": name, "weight": weight, "keys": [key(name)]} for name, weight in weights.items()]
    path = Path(tempfile.mkdtemp(prefix="qwend-bench-")) / "tenants.yaml"
    path.write_text(yaml.safe_dump({"tenants": tenants}))
    return str(path)


def capacity(url: str) -> float:
    """Requests a second that come out of an engine with too many coming in, once its limits have settled."""
    results = run(url, steady(40, 20, 77, tenant="quiet0"))
    ends = sorted(result.at + result.e2e for result in results if result.finished)
    return sum(10 <= end <= 20 for end in ends) / 10


def ttft(results: Sequence[Record], part: float, *labels: str) -> float:
    return quantile([each.ttft for each in results if each.ttft is not None and each.tenant in labels], part)


def flood(seconds: float = 40.0) -> dict[str, Any]:
    """One tenant at ten times its share beside four quiet ones; then five that all want more than their share."""
    quiet = [f"quiet{number}" for number in range(4)]
    file = tenants_file({"flood": 1.0, **dict.fromkeys(quiet, 1.0), "w1": 1.0, "w2": 2.0, "w3": 3.0})
    with daemon(ADMISSION__ENABLED="false") as plain:
        _, itl = unloaded(plain.url)
    # As an operator would who wants tokens to come at a third of the speed that one user alone sees, or faster.
    with daemon(TENANTS__FILE=file, ADMISSION__ITL_SECONDS=3 * itl) as ready:
        most = capacity(ready.url)
        calm = [
            shot for index, name in enumerate(quiet) for shot in steady(most / 10, seconds, 10 + index, tenant=name)
        ]
        alone = run(ready.url, calm)
        both = run(ready.url, [*calm, *steady(2 * most, seconds, 50, tenant="flood")])
        figures: dict[str, Any] = {"capacity": round(most, 1), "itl_objective": round(3 * itl, 4)}
        for name, results in (("without", alone), ("with", both)):
            mine = [each for each in results if each.tenant in quiet]
            figures[name] = {
                "quiet_ttft_p50": round(ttft(results, 0.5, *quiet), 4),
                "quiet_ttft_p99": round(ttft(results, 0.99, *quiet), 4),
                "quiet_served": round(sum(each.finished for each in mine) / len(mine), 3),
            }
        figures["p99 ratio"] = round(figures["with"]["quiet_ttft_p99"] / figures["without"]["quiet_ttft_p99"], 2)
        weights = {"w1": 1.0, "w2": 2.0, "w3": 3.0}
        greedy = run(
            ready.url,
            [shot for index, name in enumerate(weights) for shot in steady(most, 30, 60 + index, tenant=name)],
        )
        # From when all have something waiting, and what came before that is served, until the last arrival.
        tokens = dict.fromkeys(weights, 0)
        for each in greedy:
            tokens[each.tenant] += sum(10 <= each.at + at <= 30 for at in each.times)
        whole = sum(tokens.values())
        figures["shares over weights"] = {
            name: round(tokens[name] / whole / (weight / sum(weights.values())), 3) for name, weight in weights.items()
        }
    return figures


def long(seconds: float = 40.0) -> dict[str, Any]:
    """A prompt of 31,000 tokens each second beside short chats, with admission and without."""
    figures: dict[str, Any] = {}
    words = _words_of_a_giant()
    short = steady(5, seconds, 20, label="short", tokens=32)
    giants = [
        Shot(float(at), {**chat(at, tokens=8), "messages": [_long(words, at)]}, "long") for at in range(int(seconds))
    ]
    for name, settings in {"ours": {}, "straight": {"ADMISSION__ENABLED": "false"}}.items():
        with daemon(**settings) as ready:
            run(ready.url, steady(5, 5, 1))
            alone = run(ready.url, short)
            both = run(ready.url, [*short, *giants])
        figures[name] = {
            "short_ttft_p50": [round(ttft(each, 0.5, "short"), 4) for each in (alone, both)],
            "short_ttft_p99": [round(ttft(each, 0.99, "short"), 4) for each in (alone, both)],
            "p99 ratio": round(ttft(both, 0.99, "short") / ttft(alone, 0.99, "short"), 2),
            "short_served": sum(each.finished for each in both if each.tenant == "short") / len(short),
            "long_served": sum(each.finished for each in both if each.tenant == "long"),
            "long_codes": sorted({each.code for each in both if each.tenant == "long"}),
        }
        show(name, figures[name])
    return figures


def _words_of_a_giant() -> int:
    """How many words make a prompt of 31,000 tokens, counted by the daemon itself."""
    with daemon() as ready:
        asked = {"model": MODEL, "messages": [_long(1000, 1)]}
        counted = httpx.post(f"{ready.url}/tokenize", json=asked).json()["count"]
    return 31_000 * 1000 // int(counted)


def _long(words: int, seed: int) -> dict[str, str]:
    letters = " ".join(ascii_lowercase[(place * 7 + seed) % 26] for place in range(words))
    return {"role": "user", "content": f"{seed} {letters}"}


def retry(seconds: float = 5.0) -> dict[str, Any]:
    """Ten times what the engine can do, for as long as a minute can make up for; who is refused comes back as told."""
    with daemon(
        ADMISSION__CLASSES__STANDARD__TTFT_SECONDS=1.0, TENANTS__FILE=tenants_file({"quiet0": 1.0, "all": 1.0})
    ) as ready:
        most = capacity(ready.url)
        results = run(ready.url, steady(10 * most, seconds, 30, tenant="all", retries=1))
    refused = [each for each in results if len(each.tries) > 1]
    returned = [each.tries[1].status == 200 for each in refused]
    at_once = steady(10 * most, seconds, 31, tenant="all")
    with daemon(ADMISSION__CLASSES__STANDARD__TTFT_SECONDS=1.0, TENANTS__FILE=tenants_file({"all": 1.0})) as ready:
        run(ready.url, steady(5, 5, 1, tenant="all"))
        plain = run(ready.url, at_once)
    rejected = [each.e2e for each in plain if each.code in ("deadline_unreachable", "overloaded")]
    return {
        "capacity": round(most, 1),
        "offered": len(results),
        "refused at first": len(refused),
        "of those let in when they came back": round(sum(returned) / max(1, len(returned)), 3),
        "seconds told, p50 and p99": [round(quantile([each.e2e for each in refused], part), 1) for part in (0.5, 0.99)],
        "refusal_ms p50, p99, most": [round(1000 * quantile(rejected, part), 1) for part in (0.5, 0.99, 1.0)],
        "sender_lag_ms_p99": round(1000 * quantile([each.lag for each in plain], 0.99), 1),
    }


SCENARIOS = {"goodput": goodput, "flood": flood, "long": long, "retry": retry}


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
