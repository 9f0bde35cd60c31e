"""How a node without an API ends, by how vLLM's own entry does."""

from __future__ import annotations

import sys
import types
from argparse import Namespace
from collections.abc import Callable

import pytest

from server.engine import headless
from server.settings import load

Outcome = Callable[[Namespace], None]


def fails(arguments: Namespace) -> None:
    raise ValueError("no such GPU")


def is_told_to_end(arguments: Namespace) -> None:
    raise SystemExit


def run(monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> int:
    serve = types.ModuleType("vllm.entrypoints.cli.serve")
    serve.run_headless = outcome
    monkeypatch.setitem(sys.modules, serve.__name__, serve)
    monkeypatch.setattr(headless, "with_configs", lambda arguments: arguments)
    for name in ("apply_environment", "prepare_children", "ensure"):
        monkeypatch.setattr(headless, name, lambda *_: None)
    return headless.run_workers(load("qwen3.5-397b-2x8xh100-bf16", {"node": {"rank": 1, "master_addr": "10.0.0.1"}}))


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(is_told_to_end, 0), (fails, 1), (lambda arguments: None, 1)],
    ids=["a signal", "it cannot start", "a worker dies"],
)
def test_the_exit_code_tells_why(monkeypatch: pytest.MonkeyPatch, outcome: Outcome, code: int) -> None:
    assert run(monkeypatch, outcome) == code


def test_the_workers_get_the_arguments_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Namespace] = []
    run(monkeypatch, seen.append)
    (arguments,) = seen
    assert (arguments.nnodes, arguments.node_rank, arguments.master_addr) == (2, 1, "10.0.0.1")
    assert (arguments.tensor_parallel_size, arguments.pipeline_parallel_size) == (8, 2)
    assert arguments.api_server_count == 0
