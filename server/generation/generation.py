"""A request that the engine has accepted: its answers' events as they come, its usage, and its one end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from server.generation.errors import EngineFailed, Interrupted, RequestFailed
from server.generation.events import Batch, ToolCallArguments, ToolCallEnd, ToolCallStart
from server.generation.output_parser import OutputParser
from server.generation.plain_text import PlainText
from server.generation.ports import EngineDelta, EngineStream, Permit, Prompt
from server.telemetry.trail import current

_OF_CALLS = (ToolCallStart, ToolCallArguments, ToolCallEnd)

Parser = OutputParser | PlainText
"""What turns an answer's text into events."""


@dataclass(slots=True)
class Usage:
    """Token counts, of all answers. `reasoning` and `tool` (those of tool calls) are parts of `completion`, `cached`
    (prefix-cache hits) of `prompt`. `cost` is in US dollars, where it is to be told.
    """

    prompt: int
    cached: int = 0
    completion: int = 0
    reasoning: int = 0
    tool: int = 0
    cost: float | None = None


class _Answer:
    """One of the answers while it is made."""

    __slots__ = ("called_tool", "finish_reason", "parser", "silent", "thinking")

    def __init__(self, parser: Parser, thinking: bool) -> None:
        self.parser = parser
        self.thinking = thinking
        self.called_tool = False
        # Tokens since the last event: what a call begins with shows only when its name is whole.
        self.silent = 0
        self.finish_reason: str | None = None


class Generation:
    """Read its `events` once; close it whatever happens. `new_parser` makes the parser of each of its answers."""

    def __init__(
        self,
        stream: EngineStream,
        new_parser: Callable[[], Parser],
        permit: Permit,
        prompt: Prompt,
        think_end_token: int | None,
        *,
        answers: int = 1,
    ) -> None:
        self._stream = stream
        self._permit = permit
        self._think_end = think_end_token
        self._answers = [_Answer(new_parser(), prompt.thinking) for _ in range(answers)]
        self._unfinished = answers
        self._failure: RequestFailed | None = None
        self._trail = current()
        self._begun = False
        self.prompt_token_ids = prompt.token_ids
        self.usage = Usage(prompt=prompt.tokens)

    @property
    def finish_reasons(self) -> list[str | None]:
        """How each answer ended: "stop", "length" or "tool_calls"; None while it is being made."""
        return [answer.finish_reason for answer in self._answers]

    async def next(self) -> Sequence[Batch]:
        """The next batches: one for each engine delta, also where no event is ready yet, since its tokens were made all
        the same. None once all answers have ended.

        Raises EngineDied, EngineFailed or Interrupted, and the same when asked again; the batches before it stand.
        """
        if self._failure is not None:
            raise self._failure
        if not self._unfinished:
            return ()
        batches: list[Batch] = []
        try:
            for delta in await self._stream.next():
                batches.append(self._read(delta))
        except RequestFailed as error:
            self._permit.end(error.outcome)
            self._failure = error
            if not batches:
                raise
        if not self._begun:
            self._begun = True
            if self._trail is not None:
                self._trail.token_came()
        if not self._unfinished:
            if self._trail is not None:
                self._trail.generation_ended()
            # The first answer stands for all where the metrics count how a request ended.
            self._permit.end(self._answers[0].finish_reason or "stop")
        return batches

    async def events(self) -> AsyncGenerator[Batch, None]:
        """The same, batch by batch."""
        while batches := await self.next():
            for batch in batches:
                yield batch

    async def free(self) -> None:
        """Frees the engine's sequence if it still runs, and leaves the permit to whoever gave it."""
        await self._stream.close()

    async def close(self, outcome: str = "client_gone") -> None:
        """Frees the engine's sequence and ends the permit, if the iteration has not ended by itself."""
        if self._unfinished and self._begun and self._trail is not None:
            self._trail.generation_ended()
        try:
            await self._stream.close()
        finally:
            self._permit.end(outcome)

    def _read(self, delta: EngineDelta) -> Batch:
        answer = self._answers[delta.answer]
        self._permit.made(len(delta.token_ids), delta.cached_tokens)
        self._count(answer, delta.token_ids, delta.cached_tokens)
        events = answer.parser.feed(delta.text)
        if delta.finish_reason is not None:
            events = [*events, *answer.parser.finish()]
        if events:
            for event in events:
                if type(event) is ToolCallStart:
                    answer.called_tool = True
                    # A call inside the thinking ends it without `</think>`.
                    answer.thinking = False
            if answer.called_tool and type(events[-1]) in _OF_CALLS:
                self._count_tool(answer.silent + len(delta.token_ids))
            answer.silent = 0
        else:
            answer.silent += len(delta.token_ids)
        if delta.finish_reason is not None:
            answer.finish_reason = _finished_by(delta.finish_reason, called_tool=answer.called_tool)
            self._unfinished -= 1
        return Batch(delta.answer, events, delta.token_ids, delta.logprobs, answer.finish_reason, delta.stop_string)

    def _count_tool(self, tokens: int) -> None:
        usage = self.usage
        usage.tool = min(usage.tool + tokens, usage.completion - usage.reasoning)

    def _count(self, answer: _Answer, token_ids: Sequence[int], cached: int) -> None:
        self.usage.completion += len(token_ids)
        self.usage.cached = max(self.usage.cached, cached)
        if not answer.thinking:
            return
        if self._think_end is not None and self._think_end in token_ids:
            self.usage.reasoning += token_ids.index(self._think_end)
            answer.thinking = False
        else:
            self.usage.reasoning += len(token_ids)


def _finished_by(reason: str, *, called_tool: bool) -> str:
    if reason == "stop":
        return "tool_calls" if called_tool else "stop"
    if reason == "length":
        return "length"
    if reason == "abort":
        raise Interrupted("The server ended this request before it was finished.")
    raise EngineFailed(f"The engine ended this request with {reason!r}.")
