"""One model on two processes, and on two nodes, says what it says on one. Greedy, the same 20 prompts each time."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon_process import DaemonProcess
from tests.engine.greedy import QUESTIONS, agreeing, answers
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def alone(daemon: DaemonProcess) -> list[list[int]]:
    said = answers(daemon.url)
    assert sum(map(len, said)) > 300, "there is enough said for a difference to show"
    return said


# Each process of tensor parallel needs cores of its own; vLLM's own choice finds too few on a machine of two.
CORES = "0|1"
TWO = {"QWEND_ENGINE__TENSOR_PARALLEL_SIZE": "2"}


def test_two_processes_say_what_one_says(alone: list[list[int]]) -> None:
    two = DaemonProcess(environment={**TWO, "VLLM_CPU_OMP_THREADS_BIND": CORES})
    try:
        said = answers(two.wait_ready().url)
    finally:
        two.stop()
    assert agreeing(alone, said) == len(QUESTIONS) == 20


@pytest.fixture
def second_node() -> Iterator[tuple[dict[str, str], subprocess.Popen[bytes], Path]]:
    """The node without an API, the environment that both share, and its log."""
    shared = {
        **TWO,
        "QWEND_HARDWARE__NODES": "2",
        "QWEND_NODE__MASTER_PORT": str(free_port()),
        "VLLM_HOST_IP": "127.0.0.1",
    }
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        node = subprocess.Popen(
            [sys.executable, "-m", "server.cli", "serve", "--node-rank", "1", "--master-addr", "127.0.0.1"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **shared, "VLLM_CPU_OMP_THREADS_BIND": "1"},
        )
        try:
            yield shared, node, Path(log.name)
        finally:
            if node.poll() is None:
                node.terminate()
                try:
                    node.wait(10)
                except subprocess.TimeoutExpired:
                    node.kill()
                    node.wait(10)


def test_two_nodes_say_what_one_says(
    alone: list[list[int]], second_node: tuple[dict[str, str], subprocess.Popen[bytes], Path]
) -> None:
    """As `qwend profiles launch` would have them started, but that both are this machine."""
    shared, node, log = second_node
    first = DaemonProcess(
        "--node-rank",
        "0",
        "--master-addr",
        "127.0.0.1",
        environment={**shared, "VLLM_CPU_OMP_THREADS_BIND": "0"},
    )
    try:
        said = answers(first.wait_ready().url)
        assert node.poll() is None, log.read_text()
    finally:
        first.stop()
    assert agreeing(alone, said) == len(QUESTIONS) == 20
    # A node that is told to end ends, and as if nothing had failed.
    node.terminate()
    assert node.wait(30) == 0, log.read_text()
