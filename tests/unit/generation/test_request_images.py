"""The images of a request on their way through the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from server.generation.conversation import Conversation, ImagePart, Message, Sampling, TextPart
from server.generation.errors import InvalidRequest
from server.generation.pipeline import Defaults, Pipeline

DEFAULTS = Defaults(
    thinking=False,
    max_tokens=None,
    sampling_thinking=Sampling(),
    sampling_direct=Sampling(),
    max_images=2,
    max_videos=1,
    effort_budgets={},
)


class Rendered(Exception):
    """Ends the road where the engine would begin."""


class RecordingEngine:
    messages: Sequence[Any] = ()

    async def render(self, messages: Sequence[Any], **rest: Any) -> Any:
        self.messages = messages
        raise Rendered


class RecordingDecoder:
    def __init__(self) -> None:
        self.requests: list[list[ImagePart]] = []

    async def decode(self, images: Sequence[ImagePart]) -> list[Any]:
        self.requests.append(list(images))
        return [f"pixels of {image.url}" for image in images]


def conversation(*urls: str) -> Conversation:
    parts = tuple(ImagePart(url, f"part {number}", "low") for number, url in enumerate(urls))
    return Conversation(messages=(Message("user", (TextPart("look"), *parts)),))


async def test_the_images_of_a_request_are_decoded_together_and_keep_their_places() -> None:
    """Together, since some bounds are on their sum; the same address twice is two parts."""
    engine, decoder = RecordingEngine(), RecordingDecoder()
    request = conversation("a", "a")
    with pytest.raises(Rendered):
        await Pipeline(engine, decoder, DEFAULTS).start("id", request, permit=None)  # type: ignore[arg-type]
    assert decoder.requests == [list(request.media)]
    assert [part.get("image") for part in engine.messages[0]["content"]] == [None, "pixels of a", "pixels of a"]


async def test_too_many_images_are_refused_before_any_is_fetched() -> None:
    decoder = RecordingDecoder()
    with pytest.raises(InvalidRequest, match="3 images; at most 2"):
        await Pipeline(RecordingEngine(), decoder, DEFAULTS).start("id", conversation("a", "b", "c"), permit=None)  # type: ignore[arg-type]
    assert decoder.requests == []
