from __future__ import annotations

from server.generation.conversation import Conversation, ImagePart, Message, TextPart, Tool, ToolCall
from server.generation.expectation import guessed_raw_tokens, guessed_tokens
from server.generation.raw_prompt import RawPrompt


def guess(*messages: Message, tools: tuple[Tool, ...] = ()) -> int:
    return guessed_tokens(Conversation(messages=messages, tools=tools))


def test_all_that_is_written_counts() -> None:
    plain = guess(Message("user", "x" * 3500))
    assert 900 < plain < 1100
    assert guess(Message("user", (TextPart("x" * 3500),))) == plain
    assert guess(Message("assistant", "", reasoning="x" * 3500)) == plain
    call = ToolCall("c", "f", {"a": "x" * 3500})
    assert guess(Message("assistant", "", tool_calls=(call,))) >= plain
    assert guess(Message("user", ""), tools=(Tool("f", "x" * 3500, {}),)) >= plain


def test_an_image_counts_whatever_its_bytes() -> None:
    small = guess(Message("user", (ImagePart("data:x", "p"),)))
    assert guess(Message("user", (ImagePart("data:" + "x" * 10**6, "p"),))) == small > 100


def test_tokens_are_counted_as_they_are() -> None:
    assert guessed_raw_tokens(RawPrompt([5] * 77)) == 77
    assert guessed_raw_tokens(RawPrompt("x" * 350)) == 100
