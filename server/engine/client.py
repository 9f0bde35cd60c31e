"""The running engine: vLLM's AsyncLLM behind the core's `Engine` protocol."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

from server.engine.after_tokens import record_after_tokens
from server.engine.arguments import apply_environment, engine_arguments
from server.engine.canary import CANARY_ID, Canary
from server.engine.child_processes import prepare_children
from server.engine.coalescing import Coalescer
from server.engine.failures import translate
from server.engine.last_words import LastWords, how_ended
from server.engine.media_connector import register
from server.engine.nested_configs import with_configs
from server.engine.order_parameters import OrderParameters
from server.engine.plain_outputs import is_plain, shorten
from server.engine.process_tree import Compilers, descendants, ended, kill
from server.engine.rendering import ChatRenderer, media_places
from server.engine.size import engine_size
from server.engine.started_processes import StartedProcesses
from server.engine.startup_phases import EngineLogTap, StartupPhases
from server.engine.step_reports import Listener, step_reporter
from server.engine.stream import VllmStream
from server.engine.texts import detokenize, raw_input, tokenize, vocabulary
from server.engine.token_metrics import batching_prometheus_logger
from server.engine.torchvision_ops import ensure
from server.engine.warm_up import warm_up
from server.generation.conversation import Sampling
from server.generation.engine_state import EngineSize
from server.generation.ports import Order, Prompt
from server.settings import Settings
from server.telemetry.trail import current

_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"


class VllmEngine:
    """Start it with `start`; it serves until `stop` or until its process dies."""

    def __init__(
        self,
        llm: Any,
        renderer: ChatRenderer,
        parameters: OrderParameters,
        listeners: list[Listener],
        coalescer: Coalescer,
        canary: Canary,
        tap: EngineLogTap,
        words: LastWords,
    ) -> None:
        self._llm = llm
        self._renderer = renderer
        self._canary = canary
        self._canary_prompt: Prompt | None = None
        self._tap, self._words = tap, words
        self._compilers = Compilers()
        # The workers too, which are not ours to find once their parent has died.
        self._tree = descendants(self.process_ids)
        self._workers = [each for each in self._tree if each.program.startswith(_worker_program())]
        self._coalescer = coalescer
        record_after_tokens(llm.logger_manager, coalescer.step_ended)
        self._listeners = listeners
        self._parameters = parameters
        tokenizer = llm.renderer.get_tokenizer()
        self._think_start = _token_id(tokenizer, _THINK_OPEN)
        self._think_end = _token_id(tokenizer, _THINK_CLOSE)

    @classmethod
    async def start(cls, settings: Settings, phases: StartupPhases) -> VllmEngine:
        """Builds the engine in a thread, so that probes are answered meanwhile, and warms the renderer up.

        Raises StartFailed with the reason that the engine's processes gave or how they ended, or whatever vLLM raises
        where neither is known.
        """
        words = LastWords()
        tap = EngineLogTap(phases, settings.log.engine_level, words)
        tap.open()
        listeners: list[Listener] = []
        canary = Canary()
        processes = StartedProcesses()
        try:
            with processes:
                llm = await asyncio.to_thread(_build, settings, phases, listeners, canary)
            tap.started()
            streaming = settings.streaming
            coalescer = Coalescer(streaming.hold_seconds, streaming.behind)
            renderer = await asyncio.to_thread(ChatRenderer, llm)
            parameters = await OrderParameters.start(llm, settings)
            engine = cls(llm, renderer, parameters, listeners, coalescer, canary, tap, words)
            await engine._warm_up(images=bool(settings.limits.images) and llm.model_config.is_multimodal_model)
        except Exception as error:
            await asyncio.sleep(_ON_THE_WAY_SECONDS)
            tap.close()
            # vLLM's own error says that a process failed; why is in what the process said, or in how it ended.
            if why := words.first or how_ended(processes.failed):
                raise StartFailed(why) from error
            raise
        return engine

    @property
    def max_model_len(self) -> int:
        """Context length in tokens."""
        return int(self._llm.model_config.max_model_len)

    @property
    def size(self) -> EngineSize:
        """What the engine has to give, by its own account."""
        return engine_size(self._llm.vllm_config)

    def on_step(self, listener: Listener) -> None:
        """Tells `listener` of every step from now on, on the event loop."""
        self._listeners.append(listener)

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows."""
        return vocabulary(self._llm)

    @property
    def think_end_token(self) -> int | None:
        """The id of `</think>`."""
        return self._think_end

    @property
    def dead(self) -> bool:
        """Whether the engine core is gone."""
        return bool(self._llm.errored)

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the engine cores that this daemon started."""
        manager = self._llm.engine_core.resources.engine_manager
        return [process.pid for process in manager.processes] if manager is not None else []

    @property
    def exit_codes(self) -> dict[int, int | None]:
        """Exit code of each engine core by process id; None while it runs."""
        manager = self._llm.engine_core.resources.engine_manager
        return {process.pid: process.exitcode for process in manager.processes} if manager is not None else {}

    @property
    def lost_workers(self) -> str:
        """Which workers of the engine have ended, in words. vLLM's core logs it and may wait for their part of a step
        for ever."""
        lost = [f"worker {each.id} ({each.program}) has ended" for each in ended(self._workers)]
        return "; ".join([*lost, self._words.first]) if lost and self._words.first else "; ".join(lost)

    @property
    def cause(self) -> str:
        """Why the engine died, in one line, as far as anything tells."""
        return "; ".join(each for each in (how_ended(self.exit_codes), self._words.first) if each)

    def compilers_at_work(self) -> bool:
        """Whether compilers run for the engine, which may keep a step for minutes."""
        return self._compilers.at_work(self.process_ids)

    @property
    def unfinished(self) -> int:
        """Sequences that the front end still holds for the engine."""
        return int(self._llm.get_num_unfinished_requests())

    async def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]],
        template_arguments: Mapping[str, Any],
        cache_salt: str | None = None,
    ) -> Prompt:
        """See `server.generation.ports.Engine`."""
        engine_input = await self._renderer.render(messages, tools, template_arguments, cache_salt)
        token_ids = engine_input["prompt_token_ids"]
        return Prompt(
            engine_input, len(token_ids), self._ends_thinking(token_ids), token_ids, media_places(engine_input)
        )

    def extend(self, prompt: Prompt, made: Sequence[int], *, thinking: bool) -> Prompt:
        """See `server.generation.ports.Engine`."""
        token_ids = [*prompt.token_ids, *made]
        engine_input = {name: value for name, value in prompt.engine_input.items() if name != "prompt"}
        engine_input["prompt_token_ids"] = token_ids
        return Prompt(engine_input, len(token_ids), thinking, token_ids, prompt.media)

    async def render_raw(
        self, prompt: str | Sequence[int], *, param: str, add_special_tokens: bool, cache_salt: str | None = None
    ) -> Prompt:
        """See `server.generation.ports.Engine`."""
        engine_input = await raw_input(
            self._llm, prompt, param=param, add_special_tokens=add_special_tokens, cache_salt=cache_salt
        )
        token_ids = engine_input["prompt_token_ids"]
        # A `<think>` at its end is text like any other: nobody asked for thinking.
        return Prompt(engine_input, len(token_ids), thinking=False, token_ids=token_ids)

    async def tokenize(self, text: str, *, add_special_tokens: bool) -> Sequence[int]:
        """See `server.generation.ports.Engine`."""
        return await tokenize(self._llm, text, add_special_tokens=add_special_tokens)

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """See `server.generation.ports.Engine`."""
        return await detokenize(self._llm, token_ids)

    async def token_strings(self, token_ids: Sequence[int]) -> Sequence[str]:
        """See `server.generation.ports.Engine`."""
        tokenizer = self._llm.renderer.get_tokenizer()
        strings: Sequence[str] = await asyncio.to_thread(tokenizer.convert_ids_to_tokens, list(token_ids))
        return strings

    async def parameters(self, order: Order) -> Any:
        """See `server.generation.ports.Engine`."""
        return await self._parameters.of(order)

    async def submit(self, request_id: str, prompt: Prompt, order: Order, parameters: Any = None) -> VllmStream:
        """See `server.generation.ports.Engine`."""
        params = await self.parameters(order) if parameters is None else parameters
        trail = current()
        # `add_request` and not `generate`: the latter is lazy, and its refusals would come after our 200.
        adding = asyncio.ensure_future(
            self._llm.add_request(
                request_id,
                prompt.engine_input,
                params,
                # The engine's own spans hang below the request's.
                trace_headers=trail.span.trace_headers if trail is not None and trail.span is not None else None,
                # What the prompt says and not the request: a continued message may have ended its thinking.
                reasoning_ended=not prompt.thinking,
                reasoning_parser_kwargs={"chat_template_kwargs": {"enable_thinking": order.thinking}},
            )
        )
        try:
            queue = await asyncio.shield(adding)
        except asyncio.CancelledError:
            # The engine may have it already: let it arrive, then take it back.
            adding.add_done_callback(self._abandon)
            raise
        except Exception as error:
            raise translate(error) from error
        # Several answers have states of their own, by other ids.
        state = self._llm.output_processor.request_states.get(queue.request_id)
        plain = state is not None and is_plain(state)
        return VllmStream(self._llm, queue, self._coalescer, order.sampling.logprobs, plain=plain, whole=order.whole)

    async def canary(self) -> None:
        """Has the engine make one token that shows in no metrics. Raises what `submit` and `next` raise."""
        if self._canary_prompt is None:
            self._canary_prompt = await self.render_raw("Hello", param="", add_special_tokens=False)
        order = Order(Sampling(temperature=0.0), max_tokens=1, thinking=False)
        with self._canary.under_way(self._llm):
            stream = await self.submit(CANARY_ID, self._canary_prompt, order)
            try:
                while not any(delta.finish_reason for delta in await stream.next()):
                    pass
            finally:
                await stream.close()

    async def stop(self, seconds: float) -> None:
        """Ends the engine's processes, waiting up to `seconds` for them to end by themselves."""
        self._parameters.close()
        try:
            await asyncio.to_thread(self._llm.shutdown, seconds)
        finally:
            kill(self._tree)
            self._tap.close()

    def _abandon(self, adding: asyncio.Future[Any]) -> None:
        if not adding.cancelled() and adding.exception() is None:
            closing = asyncio.ensure_future(VllmStream(self._llm, adding.result(), self._coalescer).close())
            _BACKGROUND.add(closing)
            closing.add_done_callback(_BACKGROUND.discard)

    def _ends_thinking(self, token_ids: Sequence[int]) -> bool:
        """Whether the prompt's last `<think>` is still open; only its tail can hold the generation prefill."""
        for token in reversed(token_ids[-16:]):
            if token == self._think_end:
                return False
            if token == self._think_start:
                return True
        return False

    async def _warm_up(self, *, images: bool) -> None:
        """See `server.engine.warm_up`."""
        await warm_up(self, images=images)


_BACKGROUND: set[asyncio.Future[None]] = set()
# For what a dying process said last to be heard.
_ON_THE_WAY_SECONDS = 0.2


class StartFailed(Exception):
    """The engine did not start; the message is the first error of its processes, or how they ended."""


def _build(settings: Settings, phases: StartupPhases, listeners: list[Listener], canary: Canary) -> Any:
    apply_environment(settings)
    prepare_children()
    ensure()
    import vllm.envs as envs
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    register()
    config = AsyncEngineArgs(**with_configs(engine_arguments(settings))).create_engine_config()
    phases.enter("engine process")
    llm = AsyncLLM.from_vllm_config(
        config, stat_loggers=[step_reporter(listeners), batching_prometheus_logger(canary.is_alone)]
    )
    # vLLM reads its environment at every token unless told that it will not change: 12 instead of 22 us a token.
    envs.enable_envs_cache()
    # Kept for a log line every ten seconds that only vLLM's own server asks for; 0.1 ms a step.
    loggers = llm.logger_manager.stat_loggers
    loggers[:] = [each for each in loggers if not _logs_lines(each)]
    shorten(llm.output_processor)
    return llm


def _worker_program() -> str:
    """How the names of vLLM's worker processes begin, as the kernel keeps them: 15 characters."""
    return f"{os.environ.get('VLLM_PROCESS_NAME_PREFIX', 'VLLM')}::Worker"[:15]


def _logs_lines(logger: Any) -> bool:
    from vllm.v1.metrics.loggers import LoggingStatLogger

    inner = getattr(logger, "per_engine_stat_loggers", {}).values()
    return any(isinstance(each, LoggingStatLogger) for each in (logger, *inner))


def _token_id(tokenizer: Any, token: str) -> int | None:
    token_id = tokenizer.get_vocab().get(token)
    return None if token_id is None else int(token_id)
