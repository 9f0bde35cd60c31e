"""An answer is read the same however it is cut, and whatever dialect of it a server speaks."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from loadtest.answer_stream import AnswerStream, code_of
from loadtest.record import Record


def event(payload: Any) -> bytes:
    return b"data: " + (payload if isinstance(payload, bytes) else json.dumps(payload).encode()) + b"\n\n"


def delta(reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}


USAGE = {
    "choices": [],
    "usage": {
        "prompt_tokens": 20,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 16},
        "completion_tokens_details": {"reasoning_tokens": 3},
    },
}
WHOLE = (
    event(delta(role="assistant", content=""))
    + b": keep-alive\n\n"
    + event(delta(reasoning="hm "))
    + event(delta(reasoning_content="hm"))
    + event(delta(content="Öl"))
    + event(delta(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": ""}}]))
    + event(delta("stop"))
    + event(USAGE)
    + event(b"[DONE]")
)


def read(data: bytes, cuts: list[int]) -> tuple[Record, AnswerStream]:
    record = Record(0, "a", 0.0)
    stream = AnswerStream(record, 100.0, keep_text=True)
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(data)], strict=True)):
        stream.feed(data[start:end], 101.0 + number)
    stream.end()
    return record, stream


def test_the_counts_are_the_servers() -> None:
    record, stream = read(WHOLE, [])
    assert (record.prompt_tokens, record.cached_tokens, record.completion_tokens, record.reasoning_tokens) == (
        20,
        16,
        7,
        3,
    )
    assert (record.finished, record.finish_reason, record.code, record.counted) == (True, "stop", "", False)
    assert record.ttft == 1.0
    assert len(record.times) == 4, "who speaks, the end and the usage are no pieces of the answer"
    assert "".join(stream.text) == "Öl"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_cuts_do_not_matter(line_end: bytes) -> None:
    data = WHOLE.replace(b"\n", line_end)
    rng = random.Random(1)
    for _ in range(300):
        record, stream = read(data, sorted(rng.sample(range(1, len(data)), rng.randrange(1, 40))))
        assert (record.finished, record.completion_tokens, len(record.times)) == (True, 7, 4)
        assert "".join(stream.text) == "Öl"


def test_a_first_token_has_the_time_when_it_was_whole() -> None:
    first = WHOLE.index(b"hm ")
    record, _ = read(WHOLE, [first])
    assert record.ttft == 2.0


def test_pieces_are_counted_where_the_server_does_not() -> None:
    record, _ = read(WHOLE.replace(event(USAGE), b""), [])
    assert (record.completion_tokens, record.reasoning_tokens, record.counted) == (4, 2, True)


def test_reasoning_is_a_part_of_the_pieces_where_only_that_is_not_counted() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 8}}
    record, _ = read(WHOLE.replace(event(USAGE), event(usage)), [])
    assert (record.completion_tokens, record.reasoning_tokens, record.counted) == (8, 4, False)


def test_completions_are_read_too() -> None:
    chunk = {"choices": [{"index": 0, "text": "word", "finish_reason": None}]}
    record, _ = read(event(chunk) * 3 + event(b"[DONE]"), [])
    assert (record.finished, len(record.times)) == (True, 3)


def test_an_error_in_the_stream_is_no_end() -> None:
    record, _ = read(
        WHOLE[:200] + b"\n\n" + event({"error": {"code": "engine_died", "message": "x"}}) + event(b"[DONE]"), []
    )
    assert (record.finished, record.code) == (False, "engine_died")


def test_what_is_no_json_is_told() -> None:
    for payload in (b"{", b"[1]"):
        record, _ = read(event(payload) + event(b"[DONE]"), [])
        assert (record.finished, record.code) == (False, "malformed_event")


def test_a_code_is_a_name_and_not_a_message() -> None:
    assert code_of({"error": {"code": "a b\n<c>", "message": "sk-secret"}}) == "a_b_c_"
    assert code_of({"error": {"code": None, "type": "overloaded_error"}}) == "overloaded_error"
    assert code_of({"object": "error", "message": "old vLLM", "code": 404}) == "404"
    assert code_of({"error": "sk-secret"}) == "error"
    assert code_of("sk-secret") == "error"
