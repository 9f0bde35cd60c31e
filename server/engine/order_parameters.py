"""From the core's order to vLLM's parameters, with every grammar in it tried before the engine meets it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from server.engine.constraints import bound_by, grammar_of, not_a_grammar, try_out
from server.engine.failures import translate
from server.engine.grammar_checker import GrammarChecker, GrammarRefused
from server.engine.sampling import sampling_params
from server.generation.errors import InvalidRequest
from server.generation.ports import Order
from server.settings import Settings


class OrderParameters:
    """Makes vLLM's SamplingParams. `defaults` are the checkpoint's own sampling; close it at the end."""

    def __init__(self, llm: Any, defaults: Mapping[str, Any], checker: GrammarChecker | None) -> None:
        self._llm = llm
        self._defaults = dict(defaults)
        self._checker = checker

    @classmethod
    async def start(cls, llm: Any, settings: Settings) -> OrderParameters:
        """For a running engine; starts the process that compiles grammars."""
        return cls(llm, llm.model_config.get_diff_sampling_param(), await _grammar_checker(llm, settings))

    async def of(self, order: Order) -> Any:
        """The parameters of one request. Raises InvalidRequest that names the field, or Unavailable."""
        bound = bound_by(order)
        return await self._bound(order, bound) if bound else sampling_params(order, self._defaults)

    def close(self) -> None:
        """Ends the process."""
        if self._checker is not None:
            self._checker.close()

    async def _bound(self, order: Order, bound: str) -> Any:
        """Parameters with a grammar that has compiled, and that vLLM will not look at again on the event loop."""
        try:
            params = await asyncio.to_thread(sampling_params, order, self._defaults)
            grammar = await asyncio.to_thread(grammar_of, params.structured_outputs)
            if self._checker is not None and grammar is not None:
                await self._checker.check(grammar, bound)
            await asyncio.to_thread(try_out, order)
            llm = self._llm
            await asyncio.to_thread(
                params.validate_grammar,
                llm.model_config,
                llm.vllm_config.structured_outputs_config,
                llm.renderer.get_tokenizer(),
            )
        except GrammarRefused as refused:
            raise not_a_grammar(refused, bound) from refused
        except Exception as error:
            failure = translate(error)
            if isinstance(failure, InvalidRequest) and failure.param is None:
                failure.param = bound
            raise failure from error
        return params


async def _grammar_checker(llm: Any, settings: Settings) -> GrammarChecker | None:
    """None where the profile has chosen another backend than xgrammar, whose time nothing bounds."""
    config = llm.vllm_config.structured_outputs_config
    if config.backend != "xgrammar":
        return None

    def tokenizer() -> str:
        from xgrammar import TokenizerInfo

        vocabulary = llm.model_config.get_vocab_size()
        info = TokenizerInfo.from_huggingface(llm.renderer.get_tokenizer(), vocab_size=vocabulary)
        return str(info.serialize_json())

    checker = GrammarChecker(
        await asyncio.to_thread(tokenizer),
        any_whitespace=not config.disable_any_whitespace,
        seconds=settings.limits.schema_seconds,
        at_once=settings.limits.schemas_at_once,
        memory_bytes=settings.limits.schema_memory_bytes,
    )
    # Before the first request, which would wait for it.
    await checker.start()
    return checker
