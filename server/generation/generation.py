"""A request that the engine has accepted: its events as they come, its usage, and its one end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from server.generation.errors import EngineFailed, Interrupted, RequestFailed
from server.generation.events import OutputEvent, ToolCallStart
from server.generation.output_parser import OutputParser
from server.generation.ports import EngineStream, Permit, Prompt


@dataclass(slots=True)
class Usage:
    """Token counts. `reasoning` is part of `completion`, `cached` (prefix-cache hits) part of `prompt`."""

    prompt: int
    cached: int = 0
    completion: int = 0
    reasoning: int = 0


class Generation:
    """Read its `events` once; close it whatever happens.

    `finish_reason` is set when the iteration has ended by itself: "stop", "length" or "tool_calls".
    """

    def __init__(
        self,
        stream: EngineStream,
        parser: OutputParser,
        permit: Permit,
        prompt: Prompt,
        think_end_token: int | None,
    ) -> None:
        self._stream = stream
        self._parser = parser
        self._permit = permit
        self._think_end = think_end_token
        self._thinking = prompt.thinking
        self._called_tool = False
        self.usage = Usage(prompt=prompt.tokens)
        self.finish_reason: str | None = None

    async def events(self) -> AsyncGenerator[list[OutputEvent], None]:
        """Batches of events, one for each engine delta that has any.

        Raises EngineDied, EngineFailed or Interrupted; the events before it stand.
        """
        try:
            while self.finish_reason is None:
                delta = await self._stream.next()
                self._count(delta.token_ids, delta.cached_tokens)
                events = self._parser.feed(delta.text)
                if delta.finish_reason is not None:
                    events = [*events, *self._parser.finish()]
                self._called_tool = self._called_tool or any(isinstance(event, ToolCallStart) for event in events)
                # A call inside the thinking ends it without `</think>`.
                self._thinking = self._thinking and not self._called_tool
                if delta.finish_reason is not None:
                    self.finish_reason = self._finished_by(delta.finish_reason)
                if events:
                    yield events
        except RequestFailed as error:
            self._permit.end(error.outcome)
            raise
        self._permit.end(self.finish_reason)

    async def close(self, outcome: str = "client_gone") -> None:
        """Frees the engine's sequence and ends the permit, if the iteration has not ended by itself."""
        try:
            await self._stream.close()
        finally:
            self._permit.end(outcome)

    def _finished_by(self, reason: str) -> str:
        if reason == "stop":
            return "tool_calls" if self._called_tool else "stop"
        if reason == "length":
            return "length"
        if reason == "abort":
            raise Interrupted("The server ended this request before it was finished.")
        raise EngineFailed(f"The engine ended this request with {reason!r}.")

    def _count(self, token_ids: Sequence[int], cached: int) -> None:
        self.usage.completion += len(token_ids)
        self.usage.cached = max(self.usage.cached, cached)
        if not self._thinking:
            return
        if self._think_end is not None and self._think_end in token_ids:
            self.usage.reasoning += token_ids.index(self._think_end)
            self._thinking = False
        else:
            self.usage.reasoning += len(token_ids)
