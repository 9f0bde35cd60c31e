"""One request in vLLM's engine, as deltas."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from server.engine.coalescing import Coalescer
from server.engine.failures import translate
from server.engine.logprobs import token_logprobs
from server.generation.errors import EngineDied
from server.generation.ports import EngineDelta, TokenLogprob

# An answer that is read when it is whole is taken in after so many steps: admission counts what is made.
_WHOLE_DELTAS = 32


class _Made:
    """What one answer was given since it was last read."""

    __slots__ = ("completions", "finish_reason", "stop_string", "text", "token_ids")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.token_ids: list[int] = []
        self.finish_reason: str | None = None
        self.stop_string: str | None = None
        # Only where log probabilities are wanted.
        self.completions: list[Any] = []


class VllmStream:
    """See `server.generation.ports.EngineStream`.

    vLLM puts a step's output into the request's collector and wakes who waits there for each token. This stands in the
    collector's place: it keeps deltas as lists of pieces, wakes when the coalescer says so, and by a bare future.
    `plain` says that its outputs may come the shorter way (server/engine/plain_outputs.py), `whole` that nobody reads
    the answer before its end.
    """

    def __init__(
        self,
        llm: Any,
        queue: Any,
        coalescer: Coalescer,
        logprobs: int | None = None,
        *,
        plain: bool = False,
        whole: bool = False,
    ) -> None:
        self._llm = llm
        self._request_id = queue.request_id
        self._queue = queue
        self._coalescer = coalescer
        self._logprobs = logprobs
        self._whole = whole
        self._made: dict[int, _Made] = {}
        self._deltas = 0
        self._cached = 0
        self._begun = self._finished = False
        self._error: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None
        # What came before we were here is in the collector.
        before, queue.output = queue.output, None
        queue.put = self._put
        if plain:
            queue.takes_tokens = self
        if before is not None:
            self._put(before)

    async def next(self) -> Sequence[EngineDelta]:
        """See `server.generation.ports.EngineStream`."""
        while not self._deltas and self._error is None:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        if not self._deltas:
            assert self._error is not None
            raise translate(self._error) from self._error
        self._deltas = 0
        self._begun = True
        # They may have been held when they were taken, and what comes next is held from its own time on.
        self._coalescer.forget(self)
        made, self._made = self._made, {}
        return [
            EngineDelta(
                "".join(each.text),
                each.token_ids,
                each.finish_reason,
                self._cached,
                answer,
                self._told(each.completions) if each.completions else (),
                each.stop_string,
            )
            for answer, each in made.items()
        ]

    def interrupt(self, error: Exception) -> None:
        """See `server.generation.ports.EngineStream`."""
        if not self._finished:
            self._put(error)

    async def close(self) -> None:
        """See `server.generation.ports.EngineStream`."""
        self._coalescer.forget(self)
        if self._finished:
            return
        self._finished = True
        # Shielded: a handler that is being cancelled must still free its sequence.
        with contextlib.suppress(EngineDied):
            try:
                await asyncio.shield(self._llm.abort(self._request_id, internal=True))
            except Exception as error:
                raise translate(error) from error

    def release(self) -> None:
        """See `server.engine.coalescing.Holding`."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def put_tokens(self, text: str, token_ids: Sequence[int]) -> None:
        """See `server.engine.plain_outputs.TakesTokens`."""
        made = self._made.get(0)
        if made is None:
            made = self._made[0] = _Made()
        made.text.append(text)
        made.token_ids += token_ids
        self._deltas += 1
        if self._due():
            self.release()

    def _due(self) -> bool:
        """Whether what there is should be read now."""
        if not self._begun:
            return True
        if self._whole:
            return self._deltas >= _WHOLE_DELTAS
        return not self._coalescer.holds(self, self._deltas)

    def _put(self, output: Any) -> None:
        """vLLM's output handler brings a RequestOutput of one step, or the error that ends the request."""
        if isinstance(output, Exception):
            self._error = output
            self.release()
            return
        self._cached = output.num_cached_tokens or 0
        for completion in output.outputs:
            made = self._made.get(completion.index)
            if made is None:
                made = self._made[completion.index] = _Made()
            made.text.append(completion.text)
            made.token_ids += completion.token_ids
            made.finish_reason = completion.finish_reason
            # vLLM tells a stop token's id in the same field.
            made.stop_string = completion.stop_reason if isinstance(completion.stop_reason, str) else None
            if self._logprobs is not None:
                made.completions.append(completion)
        self._deltas += 1
        if output.finished:
            self._finished = True
            self._coalescer.forget(self)
            self.release()
        elif self._due():
            self.release()

    def _told(self, completions: list[Any]) -> list[TokenLogprob]:
        assert self._logprobs is not None
        tokenizer = self._llm.renderer.get_tokenizer()
        return [told for each in completions for told in token_logprobs(each, tokenizer, self._logprobs)]
