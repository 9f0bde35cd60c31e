"""A request of one token that is nobody's: it shows that an idle engine still goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

CANARY_ID = "canary"
"""How its request ids begin; vLLM appends to them."""


class Canary:
    """Whether it is under way, so that what it does alone is kept out of vLLM's metrics, which are the users'."""

    def __init__(self) -> None:
        self._llm: Any = None

    @contextlib.contextmanager
    def under_way(self, llm: Any) -> Iterator[None]:
        """While it is in the engine."""
        self._llm = llm
        try:
            yield
        finally:
            self._llm = None

    def is_alone(self, iteration_stats: Any) -> bool:
        """Whether a step's statistics are of nothing else. A step that anyone else has a part in is counted whole."""
        if self._llm is None:
            return False
        if any(not each.startswith(CANARY_ID) for each in self._llm.output_processor.request_states):
            return False
        if iteration_stats is None:
            return True
        return iteration_stats.num_generation_tokens <= 1 and len(iteration_stats.finished_requests) <= 1
