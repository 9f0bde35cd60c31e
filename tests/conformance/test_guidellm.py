"""Our figures beside those of another load generator, guidellm, for the same load: an independent check.

It is installed into a folder of its own, `.guidellm`, with what this environment lacks of its needs; an environment of
its own would have a second torch, of several GB.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.daemon_process import MODEL, DaemonProcess
from tests.unit.loadtest.synthetic_process import SyntheticProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[2]
PINNED = ROOT / "requirements" / "guidellm.txt"
FOLDER = ROOT / ".guidellm"
CHECKPOINT = ROOT / "server" / "reference" / "checkpoint"
SECONDS, RATE, PROMPT, OUTPUT = 20, 8, 60, 20


@dataclass(frozen=True)
class Figures:
    """Times in seconds; requests that were finished a second."""

    ttft_median: float
    ttft_mean: float
    itl: float
    throughput: float


@pytest.fixture(scope="module")
def guidellm() -> list[str]:
    """The command."""
    stamp = FOLDER / "installed"
    if not stamp.exists() or stamp.read_text() != PINNED.read_text():
        shutil.rmtree(FOLDER, ignore_errors=True)
        wanted = ["--no-deps", "--target", str(FOLDER), "-r", str(PINNED)]
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, "install", *wanted], check=True, timeout=300)
        stamp.write_text(PINNED.read_text())
    return [sys.executable, "-m", "guidellm"]


def theirs(program: list[str], url: str, model: str, folder: Path) -> Figures:
    report = folder / "guidellm.json"
    command = [
        *(*program, "run", "--disable-progress"),
        *("--backend", f"kind=openai_http,target={url},model={model},validate_backend=false"),
        *("--tokenizer", f"kind=hf_auto,model={CHECKPOINT}"),
        *("--profile", f"kind=constant,rate={RATE}"),
        *("--constraint", f"kind=max_duration,seconds={SECONDS}"),
        *("--data", f"kind=synthetic_text,prompt_tokens={PROMPT},output_tokens={OUTPUT}"),
        *("--output", f"kind=json,path={report}"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(FOLDER), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    metrics = json.loads(report.read_text())["benchmarks"][0]["metrics"]
    assert metrics["request_totals"]["errored"] == 0
    ttft = metrics["time_to_first_token_ms"]["successful"]
    return Figures(
        ttft["median"] / 1000,
        ttft["mean"] / 1000,
        metrics["inter_token_latency_ms"]["successful"]["mean"] / 1000,
        metrics["requests_per_second"]["successful"]["mean"],
    )


def ours(url: str, model: str, folder: Path) -> Figures:
    scenario: dict[str, Any] = {
        "name": "same",
        "duration": SECONDS,
        "model": model,
        "tenants": [
            {
                "name": "same",
                "arrivals": {"process": "constant", "rate": RATE},
                "prompt": PROMPT,
                "output": OUTPUT,
                "body": {"ignore_eos": True},
            }
        ],
    }
    path = folder / "same.yaml"
    path.write_text(yaml.safe_dump(scenario))
    command = [sys.executable, "-m", "loadtest", "run", str(path), "--base-url", f"{url}/v1", "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads((folder / "same.json").read_text())["figures"]
    ttft, itl = figures["ttft"], figures["tpot"]["mean"]
    return Figures(ttft["p50"], ttft["mean"], itl, figures["throughput_per_second"])


def engines_ttft(url: str) -> tuple[float, int]:
    """Sum (seconds) and count of vLLM's own times to the first token."""
    text = httpx.get(f"{url}/metrics").text

    def value(name: str) -> float:
        found = re.findall(rf"^vllm:time_to_first_token_seconds_{name}{{[^}}]*}} (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    return value("sum"), int(value("count"))


def told(name: str, one: Figures, other: Figures) -> None:
    for field in ("ttft_median", "ttft_mean", "itl", "throughput"):
        a, b = getattr(one, field), getattr(other, field)
        print(f"{name}: {field} ours {a:.4f}, guidellm {b:.4f}, ratio {a / b:.3f}")


def test_both_say_the_same_of_a_server_whose_times_are_known(guidellm: list[str], tmp_path: Path) -> None:
    # Times that vary little, so that two samples of 160 have about the same median.
    with SyntheticProcess(ttft=0.3, sigma=0.1, itl=0.03) as server:
        url = server.url.removesuffix("/v1")
        mine, its = ours(url, "synthetic", tmp_path), theirs(guidellm, url, "synthetic", tmp_path)
    told("synthetic", mine, its)
    assert mine.ttft_median == pytest.approx(its.ttft_median, rel=0.1)
    assert mine.ttft_mean == pytest.approx(its.ttft_mean, rel=0.1)
    assert mine.itl == pytest.approx(its.itl, rel=0.1)
    assert mine.throughput == pytest.approx(its.throughput, rel=0.1)


def test_both_say_the_same_of_the_daemon(guidellm: list[str], daemon: DaemonProcess, tmp_path: Path) -> None:
    # The first run finds an engine that has not answered anything like it.
    ours(daemon.url, MODEL, tmp_path)
    before = engines_ttft(daemon.url)
    mine = ours(daemon.url, MODEL, tmp_path)
    between = engines_ttft(daemon.url)
    its = theirs(guidellm, daemon.url, MODEL, tmp_path)
    after = engines_ttft(daemon.url)
    told("daemon", mine, its)
    assert mine.throughput == pytest.approx(its.throughput, rel=0.1)
    # On a small machine guidellm's processes take so much of what the engine has that the engine itself is slower by
    # its own clock. So each is held against what the engine says of the same requests.
    truths = [(to[0] - since[0]) / (to[1] - since[1]) for since, to in ((before, between), (between, after))]
    print(f"the engine's own mean: {truths[0]:.4f} s under ours, {truths[1]:.4f} s under guidellm")
    for figures, truth in zip((mine, its), truths, strict=True):
        assert truth < figures.ttft_mean < truth + 0.015
    assert mine.ttft_mean / truths[0] == pytest.approx(its.ttft_mean / truths[1], rel=0.1)
