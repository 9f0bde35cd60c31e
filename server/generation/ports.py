"""What the core needs of other rooms, as protocols: they import us, we never import them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL.Image import Image

from server.generation.conversation import ImagePart, Sampling, Structure, Tool, ToolChoice, VideoPart


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
    open `<think>` block, read from its tokens, so that it holds for any template.
    """

    engine_input: Any
    tokens: int
    thinking: bool
    token_ids: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """What the engine is to do with a prompt. `tools` and `tool_choice` bind calls, `structure` binds the answer."""

    sampling: Sampling
    max_tokens: int
    thinking: bool
    thinking_budget: int | None = None
    answers: int = 1
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


@dataclass(frozen=True, slots=True)
class EngineDelta:
    """What the engine made since the last delta of one answer: usually one token, more when the reader lags or it
    speculates. `answer` counts from 0; `logprobs` has one entry a token if they were asked for.
    """

    text: str
    token_ids: Sequence[int]
    finish_reason: str | None
    cached_tokens: int
    answer: int = 0
    logprobs: Sequence[TokenLogprob] = ()


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

    async def submit(self, request_id: str, prompt: Prompt, order: Order) -> EngineStream:
        """Hands the request to the engine; returns once it is accepted. Raises InvalidRequest or EngineDied."""


class MediaDecoder(Protocol):
    """Turns what a client calls an image or a video into pixels, safely."""

    async def decode(self, parts: Sequence[ImagePart | VideoPart]) -> Sequence[DecodedImage | DecodedVideo]:
        """The pixels of all images and videos of one request, in their order.

        Raises InvalidRequest that names a part, or Unavailable.
        """


class Permit(Protocol):
    """The right to run one request; it travels with the stream and ends exactly once."""

    def on_interrupt(self, interrupt: Callable[[Exception], None]) -> None:
        """Registers who to tell when the daemon must end this request early."""

    def end(self, outcome: str) -> None:
        """Gives the permit back. Only the first call counts."""
