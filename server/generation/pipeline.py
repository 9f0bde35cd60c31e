"""The one road from a conversation to its events. Every dialect and every endpoint takes it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from server.generation.conversation import Conversation, ImagePart, Sampling, VideoPart
from server.generation.errors import ContextTooLong, InvalidRequest
from server.generation.expectation import Expectation, guessed_raw_tokens, guessed_tokens
from server.generation.generation import Generation, Parser
from server.generation.merged_generation import MergedGeneration, RunningGeneration
from server.generation.output_parser import OutputParser
from server.generation.plain_text import PlainText
from server.generation.ports import (
    DecodedImage,
    DecodedVideo,
    Engine,
    EngineStream,
    MediaDecoder,
    Order,
    Permit,
    Price,
    Prompt,
)
from server.generation.raw_prompt import RawPrompt
from server.generation.resumable import ResumableStream, resumable
from server.generation.template_messages import template_messages
from server.telemetry.trail import current, stage


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a request gets that does not say: from the profile. `max_tokens` None means what the context leaves.

    `effort_budgets` are the thinking tokens that each effort may cost, None without end, 0 no thinking at all.
    `stripped_lines` are the beginnings of lines that are left out of system text.
    """

    thinking: bool
    max_tokens: int | None
    sampling_thinking: Sampling
    sampling_direct: Sampling
    max_images: int
    max_videos: int
    effort_budgets: Mapping[str, int | None]
    stripped_lines: Sequence[re.Pattern[str]] = ()


# How long a request of several prompts waits for all of them to be taken, so that a refusal has its true status.
_TOGETHER_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request for the engine whose cost is known: all that is left is to let it in.

    `echo` is the prompt's text, where it is wanted back.
    """

    prompt: Prompt
    order: Order
    new_parser: Callable[[], Parser]
    cache_salt: str | None = None
    echo: str = ""


class Pipeline:
    """Prepares a conversation or raw prompts, hands them to the engine and returns the running generation."""

    def __init__(self, engine: Engine, decoder: MediaDecoder, defaults: Defaults) -> None:
        self._engine = engine
        self._decoder = decoder
        self._defaults = defaults

    @property
    def max_model_len(self) -> int:
        """Context length in tokens, prompt and output together."""
        return self._engine.max_model_len

    def expect(self, conversation: Conversation) -> Expectation:
        """What is known of a request before its prompt is rendered. Raises InvalidRequest for an unknown effort."""
        thinking, _ = thinking_and_budget(conversation, self._defaults)
        longest = self._engine.max_model_len
        return Expectation(
            prompt_tokens=min(longest, guessed_tokens(conversation)),
            max_tokens=min(longest, conversation.max_tokens or self._defaults.max_tokens or longest),
            bounded=conversation.max_tokens is not None,
            answers=conversation.answers,
            thinking=thinking,
            effort=conversation.effort,
        )

    def expect_raw(self, raw: RawPrompt) -> Expectation:
        """The same of a raw prompt. Raises ContextTooLong where that is given as tokens, and too many: before admission
        would have it wait, or refuse it for how long it would take.
        """
        if not isinstance(raw.prompt, str):
            self._room(len(raw.prompt), raw.param)
        longest = self._engine.max_model_len
        return Expectation(
            prompt_tokens=min(longest, guessed_raw_tokens(raw)),
            max_tokens=min(longest, raw.max_tokens or raw.default_max_tokens or longest),
            bounded=True,
            answers=raw.answers,
            thinking=False,
            effort=None,
        )

    async def start(self, request_id: str, conversation: Conversation, permit: Permit) -> Generation:
        """Runs the road up to the engine's acceptance; the permit is the generation's from then on.

        Raises RequestFailed. When it raises, the permit is still the caller's to end.
        """
        return await self.submit(request_id, await self.prepare(conversation), permit)

    async def prepare(self, conversation: Conversation) -> Prepared:
        """The conversation as the engine takes it. Raises InvalidRequest."""
        self._check_stops(conversation.sampling)
        thinking, budget = thinking_and_budget(conversation, self._defaults)
        prompt = await self._render(conversation, thinking)
        max_tokens = self._max_tokens(
            prompt,
            conversation.max_tokens,
            self._defaults.max_tokens,
            "messages",
            conversation.max_tokens_param,
            cut=conversation.cut_to_context,
        )
        order = Order(
            sampling=with_defaults(
                conversation.sampling, self._defaults.sampling_thinking if thinking else self._defaults.sampling_direct
            ),
            max_tokens=max_tokens,
            thinking=thinking,
            # No more than the answer may have: the engine's own numbers are bounded, and a client's are not.
            thinking_budget=min(budget, max_tokens) if prompt.thinking and budget is not None else None,
            answers=conversation.answers,
            whole=conversation.whole,
            tools=conversation.tools,
            tool_choice=conversation.tool_choice,
            structure=conversation.structure,
        )
        tools = {tool.name: tool.parameters for tool in conversation.tools}
        return Prepared(
            prompt, order, lambda: OutputParser(thinking=prompt.thinking, tools=tools), conversation.cache_salt
        )

    async def prepare_raw(self, raw: RawPrompt) -> Prepared:
        """The raw prompt as the engine takes it. Raises InvalidRequest."""
        self._check_stops(raw.sampling)
        with stage("render"):
            prompt = await self._engine.render_raw(
                raw.prompt, param=raw.param, add_special_tokens=raw.add_special_tokens, cache_salt=raw.cache_salt
            )
        order = Order(
            sampling=with_defaults(raw.sampling, self._defaults.sampling_direct),
            max_tokens=self._max_tokens(prompt, raw.max_tokens, raw.default_max_tokens, raw.param, "max_tokens"),
            thinking=False,
            answers=raw.answers,
            whole=raw.whole,
            structure=raw.structure,
        )
        echo = ""
        if raw.echo:
            echo = raw.prompt if isinstance(raw.prompt, str) else await self._engine.detokenize(raw.prompt)
        return Prepared(prompt, order, PlainText, raw.cache_salt, echo)

    async def submit(self, request_id: str, prepared: Prepared, permit: Permit) -> Generation:
        """Hands the request to the engine; see `start` for the permit. Raises RequestFailed."""
        prompt, order = prepared.prompt, prepared.order
        may_stop = permit.may_stop and resumable(order)
        # Before there is a place: what takes a while must not keep one that another could have.
        with stage("render"):
            parameters = await self._engine.parameters(order)
        with stage("queue"):
            await permit.admitted(Price(prompt, order.max_tokens, may_stop, prepared.cache_salt))
        trail = current()
        if trail is not None:
            trail.budget = order.thinking_budget
            trail.begin("prefill")
        stream: EngineStream = await self._engine.submit(request_id, prompt, order, parameters)
        if may_stop:
            stream = ResumableStream(self._engine, request_id, prompt, order, permit, stream)
        else:
            permit.on_interrupt(stream.interrupt)
        return Generation(
            stream,
            prepared.new_parser,
            permit,
            prompt,
            self._engine.think_end_token,
            answers=order.answers,
        )

    async def submit_all(
        self, request_id: str, prepared: Sequence[Prepared], permits: Sequence[Permit]
    ) -> RunningGeneration:
        """Hands all requests to the engine; each has its own permit. Raises as `submit` does, none is running then.

        Where there is not room for all at once, it returns with some that run and others that wait; a failure of those
        comes with the events.
        """
        # At once, since who runs must be read, and leave, for who waits to enter.
        submitting = [
            asyncio.ensure_future(self.submit(f"{request_id}-{index}", each, permit))
            for index, (each, permit) in enumerate(zip(prepared, permits, strict=True))
        ]
        if len(submitting) == 1:
            return await submitting[0]
        try:
            await asyncio.wait(submitting, timeout=_TOGETHER_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
            await asyncio.wait(submitting, return_when=asyncio.FIRST_COMPLETED)
            for each_done in submitting:
                if each_done.done():
                    each_done.result()
        except BaseException:
            for each_submitting in submitting:
                each_submitting.cancel()
            ended = await asyncio.gather(*submitting, return_exceptions=True)
            started = [each for each in ended if isinstance(each, Generation)]
            await asyncio.gather(*(generation.free() for generation in started), return_exceptions=True)
            raise
        return MergedGeneration(submitting, permits, [each.order.answers for each in prepared])

    async def prompt_tokens(self, conversation: Conversation) -> Sequence[int]:
        """The token ids that the conversation would be prefilled with. Raises InvalidRequest."""
        thinking, _ = thinking_and_budget(conversation, self._defaults)
        return (await self._render(conversation, thinking)).token_ids

    async def tokenize(self, text: str, *, add_special_tokens: bool) -> Sequence[int]:
        """The token ids of a text."""
        return await self._engine.tokenize(text, add_special_tokens=add_special_tokens)

    async def token_strings(self, token_ids: Sequence[int]) -> Sequence[str]:
        """Each token as the vocabulary spells it."""
        return await self._engine.token_strings(token_ids)

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of token ids. Raises InvalidRequest for one outside the vocabulary."""
        return await self._engine.detokenize(token_ids)

    async def _render(self, conversation: Conversation, thinking: bool) -> Prompt:
        media = conversation.media
        videos = sum(isinstance(part, VideoPart) for part in media)
        _bound(len(media) - videos, self._defaults.max_images, "images")
        _bound(videos, self._defaults.max_videos, "videos")
        decoded = dict(zip(media, await self._decode(media), strict=True))
        arguments: dict[str, Any] = {**conversation.template_arguments, "enable_thinking": thinking}
        if conversation.continue_final:
            arguments |= {"add_generation_prompt": False, "continue_final_message": True}
        with stage("render"):
            return await self._engine.render(
                template_messages(conversation, decoded, self._defaults.stripped_lines),
                tools=[tool.for_template() for tool in conversation.tools],
                template_arguments=arguments,
                cache_salt=conversation.cache_salt,
            )

    async def _decode(self, media: Sequence[ImagePart | VideoPart]) -> Sequence[DecodedImage | DecodedVideo]:
        if not media:
            return ()
        with stage("media"):
            return await self._decoder.decode(media)

    def _check_stops(self, sampling: Sampling) -> None:
        """Only a check of ours is in time: the engine would index its logits with them."""
        if any(not 0 <= each < self._engine.vocabulary for each in sampling.stop_token_ids):
            raise InvalidRequest(
                f"`stop_token_ids` must be in the vocabulary of {self._engine.vocabulary} tokens.",
                param="stop_token_ids",
            )

    def _room(self, tokens: int, param: str) -> int:
        """Tokens that an answer may have beside a prompt of `tokens`. Raises ContextTooLong where that is none."""
        longest = self._engine.max_model_len
        if tokens >= longest:
            raise ContextTooLong(
                f"This model's maximum context length is {longest} tokens, but `{param}` needs {tokens} and leaves no "
                "room for an answer.",
                param=param,
            )
        return longest - tokens

    def _max_tokens(
        self,
        prompt: Prompt,
        wanted: int | None,
        default: int | None,
        param: str,
        wanted_param: str,
        *,
        cut: bool = False,
    ) -> int:
        longest, room = self._engine.max_model_len, self._room(prompt.tokens, param)
        if wanted is None:
            return min(room, default or room)
        if cut:
            return min(room, wanted)
        if wanted > room:
            raise ContextTooLong(
                f"This model's maximum context length is {longest} tokens, but you asked for {prompt.tokens + wanted} "
                f"({prompt.tokens} in `{param}`, {wanted} in the answer).",
                param=wanted_param,
            )
        return wanted


def _bound(count: int, most: int, what: str) -> None:
    if count > most:
        raise InvalidRequest(
            f"This request has {count} {what}; at most {most} are allowed.", param="messages", code=f"too_many_{what}"
        )


def thinking_and_budget(conversation: Conversation, defaults: Defaults) -> tuple[bool, int | None]:
    """Whether to think, and in how many tokens at most (None: without end).

    What the request says outright wins over its effort, and that over the profile's default. A budget of 0 is no
    thinking. Raises InvalidRequest for an effort that the profile does not know.
    """
    thinking, budget = conversation.thinking, conversation.thinking_budget
    if conversation.effort is not None:
        if conversation.effort not in defaults.effort_budgets:
            known, param = ", ".join(defaults.effort_budgets), conversation.effort_param
            raise InvalidRequest(f"Invalid '{param}': it must be one of {known}.", param=param)
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
