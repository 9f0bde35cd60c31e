"""An engine that computes nothing: every `step_seconds` it gives each of its streams one token.

It stands behind the daemon's own interface (`server.generation.ports.Engine`), so that the front end alone is measured.
Everything in front of it is the real daemon, from `VllmStream` on, which is put what vLLM's output handler would put.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.engine.coalescing import Coalescer
from server.engine.startup_phases import StartupPhases
from server.engine.stream import VllmStream
from server.engine.token_metrics import observe_all
from server.generation.conversation import Sampling
from server.generation.engine_state import EngineReport, EngineSize
from server.generation.ports import Order, Prompt
from server.settings import Settings
from server.telemetry.engine_metrics import ITL

WORDS = ("The", " front", " end", " carries", " tokens", ",", " and", " never", " holds", " one", " back", ".\n")
# Tokens of vLLM's output handler between two looks at the loop: its own default.
CHUNK = 128


@dataclass(slots=True)
class _Completion:
    """The part of vLLM's CompletionOutput that is read."""

    text: str
    token_ids: list[int]
    finish_reason: str | None
    index: int = 0
    stop_reason: str | None = None


@dataclass(slots=True)
class _Output:
    """The part of vLLM's RequestOutput that is read."""

    outputs: list[_Completion]
    finished: bool
    num_cached_tokens: int = 0


class _Queue:
    """A request in the engine, in the place of vLLM's collector."""

    put: Callable[[_Output | Exception], None]
    output: _Output | None = None

    def __init__(self, request_id: str, tokens: int) -> None:
        self.request_id = request_id
        self._left = tokens
        self._made = 0

    def step(self) -> bool:
        """One token more; whether there will be others."""
        word = self._made % len(WORDS)
        self._made += 1
        finished = self._made == self._left
        self.put(_Output([_Completion(WORDS[word], [word], "length" if finished else None)], finished))
        return not finished


class SyntheticEngine:
    """See `server.generation.ports.Engine`; prompts are counted in words."""

    max_model_len = 262_144
    vocabulary = 250_000
    think_end_token: int | None = None
    dead = False
    cause = ""
    exit_codes: Mapping[int, int | None] = {}

    def __init__(self, step_seconds: float, coalescer: Coalescer) -> None:
        self._step_seconds = step_seconds
        self._running: dict[str, _Queue] = {}
        self._coalescer = coalescer
        self._prefill = 0
        self._stepped = 0.0
        self._listeners: list[Callable[[EngineReport], None]] = []
        self._stepping = asyncio.create_task(self._step_on())

    @property
    def size(self) -> EngineSize:
        """Room for whatever the benchmark asks."""
        return EngineSize(4096, 8192, 100_000, 1056, 6, self.max_model_len)

    @property
    def unfinished(self) -> int:
        """See `server.vitals.watch.Beating`."""
        return len(self._running)

    @property
    def lost_workers(self) -> str:
        """See `server.vitals.watch.Beating`."""
        return ""

    def compilers_at_work(self) -> bool:
        """See `server.vitals.watch.Beating`."""
        return False

    async def canary(self) -> None:
        """See `server.vitals.watch.Beating`."""
        stream = await self.submit("canary", Prompt(None, 1, False), Order(Sampling(), max_tokens=1, thinking=False))
        await stream.next()

    def on_step(self, listener: Callable[[EngineReport], None]) -> None:
        """See `server.generation.ports.Engine`."""
        self._listeners.append(listener)

    async def abort(self, request_id: str, internal: bool) -> None:
        """The request gets no more tokens; as AsyncLLM has it."""
        self._running.pop(request_id, None)

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

    async def submit(self, request_id: str, prompt: Prompt, order: Order, parameters: Any = None) -> VllmStream:
        """See `server.generation.ports.Engine`."""
        queue = self._running[request_id] = _Queue(request_id, order.max_tokens)
        self._prefill += prompt.tokens
        return VllmStream(self, queue, self._coalescer, whole=order.whole)

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
            running = list(self._running.values())
            for start in range(0, len(running), CHUNK):
                for queue in running[start : start + CHUNK]:
                    if queue.request_id in self._running and not queue.step():
                        del self._running[queue.request_id]
                if start + CHUNK < len(running):
                    await asyncio.sleep(0)
            if running:
                # As vLLM's statistics have it: one gap for each token, told once a step.
                now = loop.time()
                observe_all(ITL, [now - self._stepped] * len(running))
                self._stepped = now
                self._coalescer.step_ended()
                report = EngineReport(self._step_seconds, self._prefill, len(running), len(running), 0, 0.1)
                self._prefill = 0
                for listener in self._listeners:
                    listener(report)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the synthetic engine has no {name!r}: the benchmark asks for chats alone")


def starter(step_seconds: float) -> Callable[[Settings, StartupPhases], Any]:
    """What `server.daemon.Daemon` starts in place of vLLM."""

    async def start(settings: Settings, phases: StartupPhases) -> SyntheticEngine:
        return SyntheticEngine(step_seconds, Coalescer(settings.streaming.hold_seconds, settings.streaming.behind))

    return start
