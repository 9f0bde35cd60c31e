"""vllm-router, with the arguments of the overlay fleet-vllm-router, before the real daemon."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.daemon_process import MODEL, DaemonProcess
from tests.kubernetes.manifests import TOOLS, Document, container, one
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.slow]

# What a cluster gives: the replicas are found by their labels there, and here named.
DISCOVERY = ("--service-discovery", "--selector", "app.kubernetes.io/")


@pytest.fixture(scope="module")
def router(
    built: dict[str, list[Document]], daemon: DaemonProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Its URL."""
    template = one(built["fleet-vllm-router"], "Deployment", "qwend-router")["spec"]["template"]
    port, metrics = free_port(), free_port()
    changed = {"--host": "127.0.0.1", "--port": port, "--prometheus-host": "127.0.0.1", "--prometheus-port": metrics}
    args = [arg for arg in container(template)["args"] if not arg.startswith(DISCOVERY)]
    args = [
        f"{name}={changed.get(name, value)}" if value else name for name, _, value in (a.partition("=") for a in args)
    ]
    log = tmp_path_factory.mktemp("router") / "log"
    with log.open("wb") as output:
        command = [str(TOOLS / "vllm-router"), *args, "--worker-urls", daemon.url]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    probe = container(template)["readinessProbe"]["httpGet"]["path"]
    try:
        deadline = time.monotonic() + 60
        while not _answers(url + probe):
            assert process.poll() is None, _read(log)
            assert time.monotonic() < deadline, _read(log)
            time.sleep(0.2)
        assert _answers(url + container(template)["livenessProbe"]["httpGet"]["path"])
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _read(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


def _chat(**more: object) -> dict[str, object]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "Count from 1 to 10."}], "max_tokens": 200, **more}


def test_streams_come_through_frame_by_frame(router: str) -> None:
    came = []
    with httpx.stream("POST", f"{router}/v1/chat/completions", json=_chat(stream=True), timeout=60) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith("data: "):
                came.append((time.monotonic(), line))
    assert came[-1][1] == "data: [DONE]"
    assert len(came) > 10
    assert came[-1][0] - came[0][0] > 0.05  # not all at once at the end


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", _chat()),
        ("/v1/completions", {"model": MODEL, "prompt": "1 2 3", "max_tokens": 8}),
        ("/v1/responses", {"model": MODEL, "input": "What is 17 + 25?", "store": False}),
        ("/v1/messages", _chat()),
        ("/tokenize", {"model": MODEL, "prompt": "1 2 3"}),
    ],
)
def test_every_dialect_comes_through(router: str, path: str, body: dict[str, object]) -> None:
    answer = httpx.post(router + path, json=body, timeout=60)
    assert answer.status_code == 200, answer.text


def test_a_refusal_is_the_daemons_own(router: str, daemon: DaemonProcess) -> None:
    """Its status and its envelope, and asked for once."""

    def refused() -> float:
        text = httpx.get(f"{daemon.url}/metrics").text.splitlines()
        lines = [line for line in text if line.startswith("qwend_requests_received_total{")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    before = refused()
    answer = httpx.post(f"{router}/v1/chat/completions", json=_chat(temperature=7), timeout=60)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "temperature"
    assert refused() == before + 1
