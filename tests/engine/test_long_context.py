"""The full context of the family, 262,144 tokens, served once by the reference checkpoint, and one token more refused.

It cannot learn to find a needle in that much text; what is checked is that every token is there and is counted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.daemon_process import MODEL, DaemonProcess

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(3600)]

CONTEXT = 262_144
ANSWER = 16


@pytest.fixture(scope="module")
def long_daemon() -> Iterator[DaemonProcess]:
    running = DaemonProcess(
        environment={
            "QWEND_MODEL__MAX_MODEL_LEN": str(CONTEXT),
            "QWEND_ENGINE__MAX_NUM_BATCHED_TOKENS": "8192",
            # As token ids a prompt of this length has more commas than a body may by default.
            "QWEND_LIMITS__BODY_VALUES": "300000",
        }
    )
    try:
        yield running.wait_ready()
    finally:
        running.stop()


def ask(url: str, prompt: list[int], **fields: object) -> httpx.Response:
    body = {"model": MODEL, "prompt": prompt, "max_tokens": ANSWER, "ignore_eos": True, "temperature": 0, **fields}
    return httpx.post(f"{url}/v1/completions", json=body, timeout=3000)


def peaks_gib(process: int) -> dict[str, float]:
    """The most memory that `process` and each process below it has had, by its id and name."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    found = {f"{process} {status['Name']}": round(int(status["VmHWM"].split()[0]) / 2**20, 1)}
    for thread in Path(f"/proc/{process}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found |= peaks_gib(int(child))
    return found


def prompt_of(tokens: int) -> list[int]:
    """So many tokens, no two stretches of them alike."""
    return [5 + (place * place + place // 7) % 1000 for place in range(tokens)]


def test_the_whole_context_is_served_and_counted(long_daemon: DaemonProcess) -> None:
    began = time.monotonic()
    answer = ask(long_daemon.url, prompt_of(CONTEXT - ANSWER))
    seconds = time.monotonic() - began
    assert answer.status_code == 200, answer.text
    usage = answer.json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (CONTEXT - ANSWER, ANSWER)
    assert usage["total_tokens"] == CONTEXT
    assert answer.json()["choices"][0]["finish_reason"] == "length"
    print(f"{CONTEXT} tokens in {seconds:.0f} s; GiB at most: {peaks_gib(long_daemon.process.pid)}")


def test_one_token_more_is_refused(long_daemon: DaemonProcess) -> None:
    refused = ask(long_daemon.url, prompt_of(CONTEXT - ANSWER + 1))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
    refused = ask(long_daemon.url, prompt_of(CONTEXT))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
