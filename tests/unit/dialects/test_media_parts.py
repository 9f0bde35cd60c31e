"""Images and videos of chat messages: who may show them, and what a request may ask of how they are looked at."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.dialects.chat_request import ChatRequest, to_conversation
from server.dialects.limits import Limits
from server.dialects.parsing import parse_body
from server.generation.conversation import Conversation, ImagePart, VideoPart
from server.generation.errors import InvalidRequest
from tests.chat_client import body

IMAGE = {"type": "image_url", "image_url": {"url": "data:i"}}
VIDEO = {"type": "video_url", "video_url": {"url": "data:v"}}
PLACE = "messages[0].content[{}].{}.url"


def conversation(request: dict[str, Any]) -> Conversation:
    parsed = parse_body(ChatRequest, json.dumps(request).encode())
    return to_conversation(parsed, Limits(messages=9, tools=9, schema_bytes=999, video_frames=64))


def test_images_and_videos_keep_their_order_and_places() -> None:
    media = conversation(body([VIDEO, {"type": "text", "text": "x"}, IMAGE])).media
    assert media == (
        VideoPart("data:v", PLACE.format(0, "video_url")),
        ImagePart("data:i", PLACE.format(2, "image_url")),
    )


def test_arguments_of_the_processor_go_to_each_part_that_says_nothing_itself() -> None:
    parts = [IMAGE, {**IMAGE, "max_pixels": 9}, VIDEO, {**VIDEO, "fps": 3}]
    media = conversation(body(parts, mm_processor_kwargs={"min_pixels": 5, "num_frames": 6})).media
    assert [(part.min_pixels, part.max_pixels) for part in media if isinstance(part, ImagePart)] == [
        (5, None),
        (None, 9),
    ]
    assert [(part.fps, part.frames) for part in media if isinstance(part, VideoPart)] == [(None, 6), (3, None)]


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"size": {"longest_edge": 1}}, "size"),
        ({"videos_kwargs": {"fps": 2}}, "videos_kwargs"),
        ({"do_sample_frames": False}, "do_sample_frames"),
        ({"max_pixels": 0}, "max_pixels"),
        ({"min_pixels": 5, "max_pixels": 4}, "min_pixels"),
        ({"fps": 0}, "fps"),
        ({"fps": 61}, "fps"),
        ({"fps": 2, "num_frames": 4}, "num_frames"),
        ({"num_frames": 65}, "num_frames"),
    ],
)
def test_other_arguments_are_refused_by_name(arguments: dict[str, Any], key: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        conversation(body([IMAGE], mm_processor_kwargs=arguments))
    assert refused.value.param == f"mm_processor_kwargs.{key}"


@pytest.mark.parametrize("part", [IMAGE, VIDEO])
@pytest.mark.parametrize(("role", "taken"), [("user", True), ("tool", True), ("system", False), ("assistant", False)])
def test_who_may_show(role: str, taken: bool, part: dict[str, Any]) -> None:
    request = {**body(), "messages": [{"role": role, "content": [{"type": "text", "text": "x"}, part]}]}
    if taken:
        assert len(conversation(request).media) == 1
        return
    with pytest.raises(InvalidRequest, match=role) as refused:
        conversation(request)
    assert refused.value.param == "messages[0].content[1]"


@pytest.mark.parametrize("field", ["uuid", "video", "video_embeds"])
def test_what_an_engine_would_heed_is_refused_in_a_video_too(field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        conversation(body([{**VIDEO, field: "x"}]))
    assert refused.value.param == f"messages[0].content[0].{field}"
