"""What the core needs of other rooms, as protocols: they import us, we never import them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from PIL.Image import Image

from server.generation.conversation import ImagePart, Sampling, Structure, Tool, ToolChoice, VideoPart
from server.generation.engine_state import EngineReport, EngineSize


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An RGB image (Pillow's) and the bytes it came from, which are cheaper to hash than its pixels.

    The same bytes can give pixels of several sizes, so that only both together say what the model sees.
    """

    pixels: Image
    encoded: bytes


@dataclass(frozen=True, slots=True)
class DecodedVideo:
    """Frames of a video: RGB bytes of `frames` times `height` times `width` pixels.

    They are the `indices` of its `total` frames, which follow each other `fps` times a second.
    """

    pixels: bytes
    frames: int
    height: int
    width: int
    fps: float
    total: int
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered conversation whose exact cost is known.

    `engine_input` is the engine room's own value and opaque here. `thinking` says whether the prompt ends inside an
    open `<think>` block, read from its tokens, so that it holds for any template. `media` has the content hash of each
    image by the place of its first token.
    """

    engine_input: Any
    tokens: int
    thinking: bool
    token_ids: Sequence[int] = ()
    media: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Order:
    """What the engine is to do with a prompt. `tools` and `tool_choice` bind calls, `structure` binds the answer."""

    sampling: Sampling
    max_tokens: int
    thinking: bool
    thinking_budget: int | None = None
    answers: int = 1
    # Nobody reads the answers before they have ended, so that the engine may tell of many tokens at a time.
    whole: bool = False
    tools: Sequence[Tool] = ()
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    structure: Structure | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token as text and bytes, its natural log probability, and the likeliest tokens at its place."""

    token: str
    encoded: bytes
    logprob: float
    top: Sequence[TokenLogprob] = ()


class EngineDelta(msgspec.Struct, frozen=True):
    """What the engine made since the last delta of one answer: usually one token, more when the reader lags or it
    speculates. `answer` counts from 0; `logprobs` has one entry a token if they were asked for; `stop_string` is which
    of the request's stop strings ended the answer, if one did.
    """

    text: str
    token_ids: Sequence[int]
    finish_reason: str | None
    cached_tokens: int
    answer: int = 0
    logprobs: Sequence[TokenLogprob] = ()
    stop_string: str | None = None


class EngineStream(Protocol):
    """One accepted request in the engine."""

    async def next(self) -> Sequence[EngineDelta]:
        """The next deltas, at most one an answer. Raises EngineDied, EngineFailed or what `interrupt` was given."""

    def interrupt(self, error: Exception) -> None:
        """Makes the pending or next `next` raise `error`."""

    async def close(self) -> None:
        """Frees the sequence in the engine if it is still running there. Safe to call twice."""


class Engine(Protocol):
    """The model behind the daemon."""

    @property
    def max_model_len(self) -> int:
        """Context length in tokens, prompt and output together."""

    @property
    def size(self) -> EngineSize:
        """What the engine has to give."""

    def on_step(self, listener: Callable[[EngineReport], None]) -> None:
        """Tells `listener` of every step from now on, on the event loop."""

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows; their ids are below it."""

    @property
    def think_end_token(self) -> int | None:
        """The id of `</think>`, if the tokenizer has it as one token."""

    async def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]],
        template_arguments: Mapping[str, Any],
        cache_salt: str | None = None,
    ) -> Prompt:
        """Applies the chat template, tokenises and prepares images. Raises InvalidRequest.

        Messages are in OpenAI's form, but an image part is `{"type": "image", "image": DecodedImage}` and a video part
        `{"type": "video", "video": DecodedVideo}`.
        """

    def extend(self, prompt: Prompt, made: Sequence[int], *, thinking: bool) -> Prompt:
        """A prompt that goes on where an answer of `made` tokens was stopped."""

    async def render_raw(
        self, prompt: str | Sequence[int], *, param: str, add_special_tokens: bool, cache_salt: str | None = None
    ) -> Prompt:
        """A prompt of text, tokenised, or of token ids that are in the vocabulary. Raises InvalidRequest."""

    async def tokenize(self, text: str, *, add_special_tokens: bool) -> Sequence[int]:
        """The token ids of a text of any length; special tokens in it are read as such."""

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, special tokens shown. Raises InvalidRequest for an id that no token has."""

    async def token_strings(self, token_ids: Sequence[int]) -> Sequence[str]:
        """Each token as the vocabulary spells it: for byte-level tokens in the byte alphabet."""

    async def parameters(self, order: Order) -> Any:
        """What the engine makes of an order, for `submit`; grammars are built and tried here, which can take seconds.

        Raises InvalidRequest that names the field, or Unavailable.
        """

    async def submit(self, request_id: str, prompt: Prompt, order: Order, parameters: Any = None) -> EngineStream:
        """Hands the request to the engine; returns once it is accepted. Raises InvalidRequest or EngineDied.

        `parameters` are the order's, made anew without them; they serve one request.
        """


class MediaDecoder(Protocol):
    """Turns what a client calls an image or a video into pixels, safely."""

    async def decode(self, parts: Sequence[ImagePart | VideoPart]) -> Sequence[DecodedImage | DecodedVideo]:
        """The pixels of all images and videos of one request, in their order.

        Raises InvalidRequest that names a part, or Unavailable.
        """


@dataclass(frozen=True, slots=True)
class Price:
    """What a rendered request takes: its prompt, and `max_tokens` for each of its answers.

    `resumable` says whether the engine can stop it and go on later without its client noticing more than time.
    """

    prompt: Prompt
    max_tokens: int
    resumable: bool = False
    cache_salt: str | None = None


class Permit(Protocol):
    """The right to run one request; it travels with the stream and ends exactly once."""

    @property
    def may_stop(self) -> bool:
        """Whether the request may have to give its place in the engine away before it is finished."""

    async def admitted(self, price: Price) -> None:
        """Waits until there is room in the engine. Raises RequestFailed when there will be none in time."""

    def made(self, tokens: int, cached: int) -> None:
        """The engine has made so many tokens more; `cached` of the prompt's it had in its cache."""

    def on_stop(self, stop: Callable[[], None]) -> None:
        """Registers who makes the engine give the request's place to another; only for a resumable one."""

    async def readmitted(self, prompt: Prompt) -> None:
        """The request has given its place away; waits for another, to go on with `prompt`. Raises RequestFailed."""

    def on_interrupt(self, interrupt: Callable[[Exception], None]) -> None:
        """Registers who to tell when the daemon must end this request early, in place of who was told before."""

    def end(self, outcome: str) -> None:
        """Gives the permit back. Only the first call counts."""
