"""Asks vLLM, in a process of its own, how it would lay out a deployment's KV cache.

Importing vLLM takes some 10 s, and standing in for GPUs spoils a process for anything else; so one child answers all
questions of a plan.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

from server.planning.layout import KvLayout, LayoutQuestion


class LayoutFailed(RuntimeError):
    """vLLM refuses the deployment's configuration; the message is vLLM's."""


class Ask(Protocol):
    """Answers questions about KV cache layouts, one after another."""

    def __call__(self, question: LayoutQuestion, /) -> KvLayout:
        """Raises LayoutFailed."""
        ...


@contextlib.contextmanager
def layouts() -> Iterator[Ask]:
    """A process that answers questions; it ends with the context."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _silence) as pool:
        # The import goes on while the caller does its arithmetic.
        pool.submit(_warm_up)

        def ask(question: LayoutQuestion) -> KvLayout:
            try:
                return pool.submit(_answer, question).result()
            except BrokenProcessPool as error:
                raise LayoutFailed("the process that asks vLLM ended; is there enough memory?") from error

        yield ask


def _silence() -> None:
    """What vLLM prints is not part of the plan, which may be JSON on standard output."""
    os.dup2(2, 1)


def _warm_up() -> None:
    from server.engine import kv_layout_worker

    kv_layout_worker.warm_up()


def _answer(question: LayoutQuestion) -> KvLayout:
    from server.engine import kv_layout_worker

    try:
        return kv_layout_worker.layout(question)
    except (ValueError, AssertionError, NotImplementedError) as error:
        # Turned into words here: what vLLM raises cannot always be sent to another process.
        raise LayoutFailed(_first_reason(str(error))) from None


def _first_reason(text: str) -> str:
    """The sentence in a pydantic error that says what is wrong."""
    for line in text.splitlines():
        if "Value error, " in line:
            return line.split("Value error, ", 1)[1].split(" [type=", 1)[0]
    return text.strip().splitlines()[0] if text.strip() else "no reason given"
