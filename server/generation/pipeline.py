"""The one road from a conversation to its events. Every dialect and every endpoint takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from server.generation.conversation import Conversation, Sampling
from server.generation.errors import ContextTooLong, InvalidRequest
from server.generation.generation import Generation
from server.generation.output_parser import OutputParser
from server.generation.ports import Engine, ImageDecoder, Permit, Prompt
from server.generation.template_messages import template_messages


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a request gets that does not say: from the profile. `max_tokens` None means what the context leaves."""

    thinking: bool
    max_tokens: int | None
    sampling_thinking: Sampling
    sampling_direct: Sampling
    max_images: int


class Pipeline:
    """Prepares a conversation, hands it to the engine and returns the running generation."""

    def __init__(self, engine: Engine, decoder: ImageDecoder, defaults: Defaults) -> None:
        self._engine = engine
        self._decoder = decoder
        self._defaults = defaults

    async def start(self, request_id: str, conversation: Conversation, permit: Permit) -> Generation:
        """Runs the road up to the engine's acceptance; the permit is the generation's from then on.

        Raises RequestFailed. When it raises, the permit is still the caller's to end.
        """
        thinking = self._defaults.thinking if conversation.thinking is None else conversation.thinking
        prompt = await self._prepare(conversation, thinking)
        max_tokens = self._max_tokens(conversation, prompt)
        defaults = self._defaults.sampling_thinking if thinking else self._defaults.sampling_direct
        stream = await self._engine.submit(
            request_id,
            prompt,
            with_defaults(conversation.sampling, defaults),
            max_tokens=max_tokens,
            thinking=thinking,
        )
        permit.on_interrupt(stream.interrupt)
        parser = OutputParser(
            thinking=prompt.thinking, tools={tool.name: tool.parameters for tool in conversation.tools}
        )
        return Generation(stream, parser, permit, prompt, self._engine.think_end_token)

    async def _prepare(self, conversation: Conversation, thinking: bool) -> Prompt:
        images = conversation.images
        if len(images) > self._defaults.max_images:
            raise InvalidRequest(
                f"This request has {len(images)} images; at most {self._defaults.max_images} are allowed.",
                param="messages",
                code="too_many_images",
            )
        decoded = dict(zip(images, await self._decoder.decode(images), strict=True))
        arguments: Mapping[str, Any] = {**conversation.template_arguments, "enable_thinking": thinking}
        return await self._engine.render(
            template_messages(conversation, decoded),
            tools=[tool.for_template() for tool in conversation.tools],
            template_arguments=arguments,
        )

    def _max_tokens(self, conversation: Conversation, prompt: Prompt) -> int:
        room = self._engine.max_model_len - prompt.tokens
        if room < 1:
            raise ContextTooLong(
                f"This model's maximum context length is {self._engine.max_model_len} tokens, but the messages need "
                f"{prompt.tokens} and leave no room for an answer.",
                param="messages",
            )
        wanted = conversation.max_tokens
        if wanted is None:
            return min(room, self._defaults.max_tokens or room)
        if wanted > room:
            raise ContextTooLong(
                f"This model's maximum context length is {self._engine.max_model_len} tokens, but you asked for "
                f"{prompt.tokens + wanted} ({prompt.tokens} in the messages, {wanted} in the answer).",
                param=conversation.max_tokens_param,
            )
        return wanted


def with_defaults(sampling: Sampling, defaults: Sampling) -> Sampling:
    """The request's sampling, with the profile's value wherever the request says nothing."""
    missing = {
        name: getattr(defaults, name)
        for name in ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "repetition_penalty")
        if getattr(sampling, name) is None
    }
    return replace(sampling, **missing)
