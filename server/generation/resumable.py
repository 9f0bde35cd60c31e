"""An engine stream that can give its place in the engine away and go on later, unnoticed but for the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from server.generation.errors import RequestFailed
from server.generation.ports import Engine, EngineDelta, EngineStream, Order, Permit, Prompt


class GivesWay(RequestFailed):
    """What a stream is interrupted with when its place is needed; no client ever sees it."""

    outcome = "stopped"


def resumable(order: Order) -> bool:
    """Whether an answer that was stopped goes on as if it had not been.

    What the engine counts over an answer's tokens would start anew in the middle: a grammar, a seed's draws, stop
    strings, penalties, a thinking budget.
    """
    sampling = order.sampling
    bound = order.structure is not None or any(tool.strict for tool in order.tools)
    chosen = order.tool_choice.required or order.tool_choice.names is not None or not order.tool_choice.parallel
    counted = sampling.presence_penalty or sampling.frequency_penalty or sampling.stop or sampling.seed is not None
    return not (order.answers > 1 or bound or (order.tools and chosen) or counted or order.thinking_budget is not None)


class ResumableStream:
    """See `server.generation.ports.EngineStream`. Stops when its permit says so, waits for a new place, goes on.

    Of what the engine made, only the deltas that were handed out count; the rest is made again. Tokens that are a part
    of a character have no text yet and are held back: decoding cannot start anew in the middle of one.
    """

    def __init__(
        self, engine: Engine, request_id: str, prompt: Prompt, order: Order, permit: Permit, stream: EngineStream
    ) -> None:
        self._engine = engine
        self._request_id = request_id
        self._prompt = prompt
        self._order = order
        self._permit = permit
        self._stream = stream
        self._made: list[int] = []
        self._held: EngineDelta | None = None
        self._cached: int | None = None
        self._stops = 0
        permit.on_stop(lambda: self._stream.interrupt(GivesWay("")))
        permit.on_interrupt(stream.interrupt)

    async def next(self) -> Sequence[EngineDelta]:
        """See `server.generation.ports.EngineStream`."""
        while True:
            try:
                (delta,) = await self._stream.next()
            except GivesWay:
                self._held = None
                await self._go_on()
                continue
            if self._cached is None:
                self._cached = delta.cached_tokens
            if self._held is not None:
                delta = _joined(self._held, delta)
            if not delta.text and delta.finish_reason is None:
                self._held = delta
                continue
            self._held = None
            self._made += delta.token_ids
            # What the client's own prompt had in the cache, not what going on found there.
            return [msgspec.structs.replace(delta, cached_tokens=self._cached)]

    def interrupt(self, error: Exception) -> None:
        """See `server.generation.ports.EngineStream`."""
        self._stream.interrupt(error)

    async def close(self) -> None:
        """See `server.generation.ports.EngineStream`."""
        await self._stream.close()

    async def _go_on(self) -> None:
        await self._stream.close()
        made = self._made
        thinking = self._prompt.thinking and self._engine.think_end_token not in made
        prompt = self._engine.extend(self._prompt, made, thinking=thinking)
        await self._permit.readmitted(prompt)
        self._stops += 1
        sampling = replace(self._order.sampling, min_tokens=max(0, self._order.sampling.min_tokens - len(made)))
        order = replace(self._order, max_tokens=self._order.max_tokens - len(made), sampling=sampling)
        self._stream = await self._engine.submit(f"{self._request_id}-{self._stops}", prompt, order)
        self._permit.on_interrupt(self._stream.interrupt)


def _joined(first: EngineDelta, second: EngineDelta) -> EngineDelta:
    return msgspec.structs.replace(
        second,
        text=first.text + second.text,
        token_ids=[*first.token_ids, *second.token_ids],
        logprobs=[*first.logprobs, *second.logprobs],
    )
