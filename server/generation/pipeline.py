"""The one road from a conversation to its events. Every dialect and every endpoint takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from server.generation.conversation import Conversation, Sampling, TextPart
from server.generation.errors import ContextTooLong, InvalidRequest
from server.generation.generation import Generation
from server.generation.output_parser import OutputParser
from server.generation.ports import Engine, EngineStream, ImageDecoder, Order, Permit, Price, Prompt
from server.generation.resumable import ResumableStream, resumable
from server.generation.template_messages import template_messages


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a request gets that does not say: from the profile. `max_tokens` None means what the context leaves.

    `effort_budgets` are the thinking tokens that each effort may cost, None without end, 0 no thinking at all.
    """

    thinking: bool
    max_tokens: int | None
    sampling_thinking: Sampling
    sampling_direct: Sampling
    max_images: int
    effort_budgets: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a request will take, from its text alone: tokens of its prompt (a guess) and at most of each answer."""

    prompt_tokens: int
    max_tokens: int
    answers: int
    thinking: bool
    effort: str | None


class Pipeline:
    """Prepares a conversation, hands it to the engine and returns the running generation."""

    def __init__(self, engine: Engine, decoder: ImageDecoder, defaults: Defaults) -> None:
        self._engine = engine
        self._decoder = decoder
        self._defaults = defaults

    def expect(self, conversation: Conversation) -> Expectation:
        """What is known of a request before its prompt is rendered. Raises InvalidRequest for an unknown effort."""
        thinking, _ = thinking_and_budget(conversation, self._defaults)
        longest = self._engine.max_model_len
        return Expectation(
            prompt_tokens=min(longest, guessed_tokens(conversation)),
            max_tokens=min(longest, conversation.max_tokens or self._defaults.max_tokens or longest),
            answers=conversation.answers,
            thinking=thinking,
            effort=conversation.effort,
        )

    async def start(self, request_id: str, conversation: Conversation, permit: Permit) -> Generation:
        """Runs the road up to the engine's acceptance; the permit is the generation's from then on.

        Raises RequestFailed. When it raises, the permit is still the caller's to end.
        """
        thinking, budget = thinking_and_budget(conversation, self._defaults)
        prompt = await self._prepare(conversation, thinking)
        max_tokens = self._max_tokens(conversation, prompt)
        order = Order(
            sampling=with_defaults(
                conversation.sampling, self._defaults.sampling_thinking if thinking else self._defaults.sampling_direct
            ),
            max_tokens=max_tokens,
            thinking=thinking,
            # No more than the answer may have: the engine's own numbers are bounded, and a client's are not.
            thinking_budget=min(budget, max_tokens) if prompt.thinking and budget is not None else None,
            answers=conversation.answers,
            tools=conversation.tools,
            tool_choice=conversation.tool_choice,
            structure=conversation.structure,
        )
        may_stop = resumable(order)
        await permit.admitted(Price(prompt, max_tokens, may_stop, conversation.cache_salt))
        stream: EngineStream = await self._engine.submit(request_id, prompt, order)
        if may_stop:
            stream = ResumableStream(self._engine, request_id, prompt, order, permit, stream)
        else:
            permit.on_interrupt(stream.interrupt)
        tools = {tool.name: tool.parameters for tool in conversation.tools}
        return Generation(
            stream,
            lambda: OutputParser(thinking=prompt.thinking, tools=tools),
            permit,
            prompt,
            self._engine.think_end_token,
            answers=conversation.answers,
        )

    async def _prepare(self, conversation: Conversation, thinking: bool) -> Prompt:
        images = conversation.images
        if len(images) > self._defaults.max_images:
            raise InvalidRequest(
                f"This request has {len(images)} images; at most {self._defaults.max_images} are allowed.",
                param="messages",
                code="too_many_images",
            )
        decoded = dict(zip(images, await self._decoder.decode(images), strict=True))
        arguments: dict[str, Any] = {**conversation.template_arguments, "enable_thinking": thinking}
        if conversation.continue_final:
            arguments |= {"add_generation_prompt": False, "continue_final_message": True}
        return await self._engine.render(
            template_messages(conversation, decoded),
            tools=[tool.for_template() for tool in conversation.tools],
            template_arguments=arguments,
            cache_salt=conversation.cache_salt,
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


# Qwen3.5's tokenizer, on prose and code alike; an image of common size; what the template writes around a message.
_CHARACTERS_PER_TOKEN = 3.5
_IMAGE_TOKENS = 256
_MESSAGE_TOKENS = 5


def guessed_tokens(conversation: Conversation) -> int:
    """Prompt tokens of a conversation, without rendering it."""
    characters = sum(len(str(tool.parameters)) + len(tool.description or "") for tool in conversation.tools)
    for message in conversation.messages:
        characters += len(message.reasoning or "") + sum(len(str(call.arguments)) for call in message.tool_calls)
        if isinstance(message.content, str):
            characters += len(message.content)
        else:
            characters += sum(len(part.text) for part in message.content if isinstance(part, TextPart))
    images, messages = len(conversation.images), len(conversation.messages)
    return int(characters / _CHARACTERS_PER_TOKEN) + images * _IMAGE_TOKENS + messages * _MESSAGE_TOKENS


def thinking_and_budget(conversation: Conversation, defaults: Defaults) -> tuple[bool, int | None]:
    """Whether to think, and in how many tokens at most (None: without end).

    What the request says outright wins over its effort, and that over the profile's default. A budget of 0 is no
    thinking. Raises InvalidRequest for an effort that the profile does not know.
    """
    thinking, budget = conversation.thinking, conversation.thinking_budget
    if conversation.effort is not None:
        if conversation.effort not in defaults.effort_budgets:
            known = ", ".join(defaults.effort_budgets)
            raise InvalidRequest(f"Invalid 'reasoning_effort': it must be one of {known}.", param="reasoning_effort")
        effort_budget = defaults.effort_budgets[conversation.effort]
        budget = effort_budget if budget is None else budget
        thinking = effort_budget != 0 if thinking is None else thinking
    if budget == 0:
        return False, None
    return (defaults.thinking if thinking is None else thinking), budget


def with_defaults(sampling: Sampling, defaults: Sampling) -> Sampling:
    """The request's sampling, with the profile's value wherever the request says nothing."""
    missing = {
        name: getattr(defaults, name)
        for name in ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "repetition_penalty")
        if getattr(sampling, name) is None
    }
    return replace(sampling, **missing)
