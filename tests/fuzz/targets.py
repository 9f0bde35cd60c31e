"""What is fuzzed: each target takes any bytes, lets only the failures out that it may answer with, and checks what must
hold of every answer.

`python -m tests.fuzz.run` gives them to a fuzzer that looks for new code (atheris), `test_short.py` to Hypothesis.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from PIL import Image

from server.dialects import chat_request, completion_request, messages_request, tokenize_request
from server.dialects.answer_parts import error_json
from server.dialects.limits import Limits
from server.dialects.messages_errors import message_error_json
from server.dialects.parsing import parse_body
from server.generation.conversation import Conversation, ImagePart
from server.generation.errors import InvalidRequest, RequestFailed
from server.generation.events import OutputEvent, TextDelta, ToolCallArguments, ToolCallStart
from server.generation.output_parser import OutputParser
from server.generation.ports import DecodedImage
from server.generation.template_messages import template_messages
from server.media.pixels import NotAnImage, PixelBudget, decode_pixels
from server.media.sources import from_data_url
from tests.fuzz.drawing import Bytes

LIMITS = Limits(messages=64, tools=8, schema_bytes=20_000)
_STRIPPED = (re.compile(r"x-anthropic-billing-header:"),)
_TOOLS: Mapping[str, Mapping[str, Any]] = {
    "f": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}, "c": {"type": "object"}}},
    "g": {"type": ["bogus"], "properties": 7},
}
_MARKUP = (
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "<function=f>", "<function=g>", "<function=h>"),
    *("<function=", "</function>", "<parameter=a>", "<parameter=b>", "<parameter=c>", "<parameter=", "</parameter>"),
    *("\n", " ", "\n\n", "<", ">", "=", "/", "true", "null", "1", "-1e9", '{"x": [1]}', '"', "\\", "{", "]", "word"),
    *("é🙂", "\x00", "\ud800"),
)


def output_parser(data: bytes) -> None:
    """Any output of the model, cut in any way, says the same; every call's arguments are whole JSON."""
    given = Bytes(data)
    flags = given.byte()
    thinking, tools = bool(flags & 1), _TOOLS if flags & 2 else None
    pieces: list[str] = []
    while given.left and len(pieces) < 400:
        first = given.byte()
        pieces.append(_MARKUP[first] if first < len(_MARKUP) else chr(first))
    text = "".join(pieces)
    streamed = _added_up(pieces, thinking=thinking, tools=tools)
    assert streamed == _added_up([text], thinking=thinking, tools=tools), "the cut shows"
    assert streamed == _added_up(list(text), thinking=thinking, tools=tools), "the cut shows"
    for name, arguments in streamed[2]:
        assert "\n" not in name
        assert isinstance(json.loads(arguments), dict), arguments


def _added_up(
    pieces: list[str], *, thinking: bool, tools: Mapping[str, Mapping[str, Any]] | None
) -> tuple[str, str, list[tuple[str, str]]]:
    parser = OutputParser(thinking=thinking, tools=tools)
    events: list[OutputEvent] = [event for piece in pieces for event in parser.feed(piece)]
    events += parser.finish()
    thought = said = ""
    calls: list[tuple[str, str]] = []
    for event in events:
        if isinstance(event, ToolCallStart):
            calls.append((event.name, ""))
        elif isinstance(event, ToolCallArguments):
            name, before = calls[-1]
            calls[-1] = name, before + event.fragment
        elif isinstance(event, TextDelta):
            said += event.text
        elif hasattr(event, "text"):
            thought += event.text
    return thought, said, calls


def message_normaliser(data: bytes) -> None:
    """Any conversation in the shape of one becomes messages for the template, or a refusal that names a field."""
    given = Bytes(data)
    anthropic = bool(given.below(2))
    body: dict[str, Any] = {"model": "m", "messages": [_message(given, anthropic) for _ in range(given.below(8))]}
    if anthropic:
        body["max_tokens"] = 8
        if given.below(2):
            body["system"] = given.one_of((given.text(), [{"type": "text", "text": given.text()}], given.value()))
    try:
        conversation = _conversation(body, anthropic)
    except InvalidRequest as error:
        _told(error)
        return
    pixels = DecodedImage(Image.new("RGB", (1, 1)), b"")
    try:
        made = template_messages(conversation, dict.fromkeys(conversation.media, pixels), _STRIPPED)
    except InvalidRequest as error:
        _told(error)
        return
    roles = [message["role"] for message in made]
    assert "system" not in roles[1:], "the template takes one system message, the first"
    assert set(roles) <= {"system", "user", "assistant", "tool"}
    for message in made:
        for call in message.get("tool_calls") or ():
            assert isinstance(call["function"]["arguments"], Mapping)


def _conversation(body: dict[str, Any], anthropic: bool) -> Conversation:
    encoded = json.dumps(body).encode()
    if anthropic:
        return messages_request.to_conversation(parse_body(messages_request.MessagesRequest, encoded), LIMITS)
    return chat_request.to_conversation(parse_body(chat_request.ChatRequest, encoded), LIMITS)


def _message(given: Bytes, anthropic: bool) -> Any:
    if not given.below(16):
        return given.value()
    role = given.one_of(("user", "assistant", "user", "assistant") if anthropic else _ROLES)
    message: dict[str, Any] = {"role": role, "content": _content(given, anthropic)}
    if role == "assistant" and not anthropic and given.below(2):
        message["tool_calls"] = [
            {"id": given.text(), "type": "function", "function": {"name": "f", "arguments": _arguments(given)}}
            for _ in range(given.below(3))
        ]
    if role == "tool":
        message["tool_call_id"] = given.text()
    if not given.below(4):
        message[given.one_of(("reasoning", "reasoning_content", "name", "refusal", "zz"))] = given.value(2)
    return message


_ROLES = ("user", "assistant", "system", "developer", "tool")


def _arguments(given: Bytes) -> Any:
    return given.one_of((given.text(), json.dumps(given.value()), given.value()))


def _content(given: Bytes, anthropic: bool) -> Any:
    kind = given.below(4)
    if kind == 0:
        return given.text()
    if kind == 1:
        return given.value(2)
    return [_part(given, anthropic) for _ in range(given.below(4))]


def _part(given: Bytes, anthropic: bool, depth: int = 2) -> Any:
    text = {"type": "text", "text": given.text()}
    if not anthropic:
        url = given.one_of(("data:image/png;base64,AAAA", "http://x/y", "", "file:///etc/passwd"))
        return given.one_of(
            (
                text,
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "refusal", "refusal": "x"},
                given.value(2),
            )
        )
    inner = [_part(given, anthropic, depth - 1) for _ in range(given.below(3))] if depth else []
    source = {"type": "base64", "media_type": "image/png", "data": given.one_of(("AAAA", "%", ""))}
    return given.one_of(
        (
            text,
            {"type": "image", "source": source},
            {"type": "thinking", "thinking": given.text(), "signature": ""},
            {"type": "redacted_thinking", "data": ""},
            {"type": "tool_use", "id": "x", "name": "f", "input": given.value(2)},
            {"type": "tool_result", "tool_use_id": "x", "content": inner or given.text(), "is_error": True},
            {"type": "document", "source": {"type": "content", "content": inner}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": given.text()}},
            {"type": "search_result", "source": "x", "title": given.text(), "content": inner},
            given.value(2),
        )
    )


_MOST_PIXELS, _SHOWN = 65_536, 4096


def media_decoder(data: bytes) -> None:
    """Any bytes are an image within its bounds, or none, with a reason."""
    try:
        image = decode_pixels(
            data, max_pixels=_MOST_PIXELS, shown_pixels=_SHOWN, least_pixels=16, budget=PixelBudget(_MOST_PIXELS)
        )
        assert image.mode == "RGB"
        assert 0 < image.width * image.height <= _SHOWN
        assert max(image.size) <= 200 * min(image.size)
        assert not image.info
        assert len(image.tobytes()) == 3 * image.width * image.height
    except NotAnImage:
        pass
    try:
        from_data_url(ImagePart(data.decode("utf-8", "surrogateescape"), "url"), 10_000)
    except InvalidRequest as error:
        _told(error)


def image_seeds() -> list[bytes]:
    """A small image in every format that is taken."""
    found = []
    for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        out = io.BytesIO()
        Image.effect_noise((9, 7), 80).convert("P" if form == "GIF" else "RGB").save(out, form)
        found.append(out.getvalue())
    return [*found, b"data:image/png;base64,AAAA"]


_PARSED: tuple[tuple[Any, Callable[[Any], object]], ...] = (
    (chat_request.ChatRequest, lambda asked: chat_request.to_conversation(asked, LIMITS)),
    (completion_request.CompletionRequest, lambda asked: completion_request.to_raw_prompts(asked, LIMITS)),
    (messages_request.MessagesRequest, lambda asked: messages_request.to_conversation(asked, LIMITS)),
    (messages_request.CountTokensRequest, lambda asked: messages_request.to_prompt(asked, LIMITS)),
    (tokenize_request.TokenizeRequest, lambda asked: _tokenized(asked.root)),
    (tokenize_request.DetokenizeRequest, lambda asked: tokenize_request.to_token_ids(asked, LIMITS)),
)
_FIELDS = tuple(sorted({field.alias or name for model, _ in _PARSED for name, field in model.model_fields.items()}))


def _tokenized(asked: Any) -> object:
    if isinstance(asked, tokenize_request.TokenizeTextRequest):
        return tokenize_request.to_text(asked, LIMITS)
    return tokenize_request.to_prompt(asked, LIMITS)


def body_parser(data: bytes) -> None:
    """Any body is a request of its dialect or a refusal; half of them are JSON with fields that there are."""
    given = Bytes(data)
    model, convert = given.one_of(_PARSED)
    body = data[2:]
    if given.below(2):
        fields: dict[str, Any] = {
            "model": "m",
            "messages": [{"role": "user", "content": given.text()}],
            "prompt": given.one_of((given.text(), [1], [[1], [2]], given.value(2))),
            "tokens": [1],
            "max_tokens": 9,
        }
        for _ in range(given.below(6)):
            fields[_FIELDS[(given.byte() * 256 + given.byte()) % len(_FIELDS)]] = given.value()
        body = json.dumps(fields).encode()
    try:
        convert(parse_body(model, body))
    except InvalidRequest as error:
        _told(error)


def _told(error: RequestFailed) -> None:
    """A refusal must be one that can be sent, and must not send back what came."""
    assert 400 <= error.status < 500
    assert len(orjson.dumps(error_json(error))) < 4096
    assert len(orjson.dumps(message_error_json(error, "req_1"))) < 4096


TARGETS: dict[str, Callable[[bytes], None]] = {
    "output_parser": output_parser,
    "message_normaliser": message_normaliser,
    "media_decoder": media_decoder,
    "body_parser": body_parser,
}

SEEDS: dict[str, list[bytes]] = {
    "output_parser": [
        bytes([3, *(_MARKUP.index(each) for each in call)])
        for call in (
            ("word", "</think>", "\n\n", "word"),
            (
                *("</think>", "<tool_call>", "\n", "<function=f>", "\n", "<parameter=a>", "\n", "word", "\n"),
                *("</parameter>", "\n", "</function>", "\n", "</tool_call>"),
            ),
        )
    ],
    "message_normaliser": [bytes(range(64)), bytes(range(255, 100, -3))],
    "media_decoder": image_seeds(),
    "body_parser": [
        b"\x00\x00" + b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}',
        b"\x01\x00" + b'{"model": "m", "prompt": ["a", "b"], "n": 2, "logit_bias": {"1": 1}}',
        b"\x02\x00" + b'{"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}',
        bytes(range(1, 120)),
    ],
}
