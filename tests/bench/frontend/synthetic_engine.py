"""An engine that computes nothing: every `step_seconds` it gives each of its streams one token.

It stands behind the daemon's own interface (`server.generation.ports.Engine`), so that the front end alone is measured.
Everything in front of it is the real daemon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from server.engine.startup_phases import StartupPhases
from server.generation.engine_state import EngineReport, EngineSize
from server.generation.ports import EngineDelta, Order, Prompt
from server.settings import Settings

WORDS = ("The", " front", " end", " carries", " tokens", ",", " and", " never", " holds", " one", " back", ".\n")
# Tokens of vLLM's output handler between two looks at the loop: its own default.
CHUNK = 128


class SyntheticStream:
    """Tokens as they come; what was not read is given in one delta, as vLLM's collector does."""

    def __init__(self, engine: SyntheticEngine, order: Order, prompt: Prompt) -> None:
        self._engine = engine
        self._left = order.max_tokens
        self._made = 0
        self._prompt = prompt
        self._text: list[str] = []
        self._ids: list[int] = []
        self._ready = asyncio.Event()
        self._error: Exception | None = None
        self._finished = False

    def step(self) -> None:
        """One token more."""
        word = self._made % len(WORDS)
        self._made += 1
        self._left -= 1
        self._text.append(WORDS[word])
        self._ids.append(word)
        if not self._left:
            self._finished = True
            self._engine.leave(self)
        self._ready.set()

    async def next(self) -> Sequence[EngineDelta]:
        """See `server.generation.ports.EngineStream`."""
        while not self._ids and self._error is None:
            await self._ready.wait()
        if self._error is not None:
            raise self._error
        self._ready.clear()
        delta = EngineDelta("".join(self._text), self._ids, "length" if self._finished else None, 0)
        self._text, self._ids = [], []
        return [delta]

    def interrupt(self, error: Exception) -> None:
        """See `server.generation.ports.EngineStream`."""
        self._error = error
        self._ready.set()

    async def close(self) -> None:
        """See `server.generation.ports.EngineStream`."""
        self._engine.leave(self)


class SyntheticEngine:
    """See `server.generation.ports.Engine`; prompts are counted in words."""

    max_model_len = 262_144
    vocabulary = 250_000
    think_end_token: int | None = None
    dead = False
    exit_codes: Mapping[int, int | None] = {}

    def __init__(self, step_seconds: float) -> None:
        self._step_seconds = step_seconds
        self._streams: dict[SyntheticStream, None] = {}
        self._prefill = 0
        self._listeners: list[Callable[[EngineReport], None]] = []
        self._stepping = asyncio.create_task(self._step_on())

    @property
    def size(self) -> EngineSize:
        """Room for whatever the benchmark asks."""
        return EngineSize(4096, 8192, 100_000, 1056, 6, self.max_model_len)

    def on_step(self, listener: Callable[[EngineReport], None]) -> None:
        """See `server.generation.ports.Engine`."""
        self._listeners.append(listener)

    def leave(self, stream: SyntheticStream) -> None:
        """The stream gets no more tokens."""
        self._streams.pop(stream, None)

    async def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]],
        template_arguments: Mapping[str, Any],
        cache_salt: str | None = None,
    ) -> Prompt:
        """See `server.generation.ports.Engine`."""
        ids = [hash(word) % self.vocabulary for message in messages for word in str(message["content"]).split()]
        return Prompt(None, len(ids), False, ids)

    async def parameters(self, order: Order) -> None:
        """See `server.generation.ports.Engine`."""

    async def submit(self, request_id: str, prompt: Prompt, order: Order, parameters: Any = None) -> SyntheticStream:
        """See `server.generation.ports.Engine`."""
        stream = SyntheticStream(self, order, prompt)
        self._streams[stream] = None
        self._prefill += prompt.tokens
        return stream

    async def stop(self, seconds: float) -> None:
        """Ends the steps."""
        self._stepping.cancel()

    async def _step_on(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            # By the clock and not after the last step: an engine does not wait for its front end.
            due = max(due + self._step_seconds, loop.time() - 10 * self._step_seconds)
            await asyncio.sleep(max(0.0, due - loop.time()))
            running = list(self._streams)
            for start in range(0, len(running), CHUNK):
                for stream in running[start : start + CHUNK]:
                    stream.step()
                await asyncio.sleep(0)
            if running:
                report = EngineReport(self._step_seconds, self._prefill, len(running), len(running), 0, 0.1)
                self._prefill = 0
                for listener in self._listeners:
                    listener(report)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the synthetic engine has no {name!r}: the benchmark asks for chats alone")


def starter(step_seconds: float) -> Callable[[Settings, StartupPhases], Any]:
    """What `server.daemon.Daemon` starts in place of vLLM."""

    async def start(settings: Settings, phases: StartupPhases) -> SyntheticEngine:
        return SyntheticEngine(step_seconds)

    return start
