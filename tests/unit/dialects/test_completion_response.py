from __future__ import annotations

import json
from typing import Any

import openai.types
import pytest

from server.dialects.answer_schema import Completion, CompletionPiece
from server.dialects.completion_response import (
    CompletionAnswer,
    CompletionStream,
    Prompted,
    ShownTokens,
    WholeCompletion,
)
from server.generation.errors import EngineDied
from server.generation.events import Batch, TextDelta
from server.generation.generation import Usage
from server.generation.ports import TokenLogprob

USAGE = Usage(prompt=7, cached=4, completion=5)
ANSWER = CompletionAnswer("m", "fp")
PROMPTED = [Prompted("He", [1, 2]), Prompted("", [3])]
EVERYTHING = ShownTokens(logprobs=True, token_ids=True)


def told(encoded: bytes, *others: bytes) -> TokenLogprob:
    top = [TokenLogprob(each.decode("utf-8", "replace"), each, -2.0) for each in others]
    return TokenLogprob(encoded.decode("utf-8", "replace"), encoded, -0.5, top)


SMILE = "🙂".encode()
BATCHES = [
    Batch(0, [TextDelta("llo")], [4], [told(b"llo", b"llo", b"y")]),
    Batch(1, [TextDelta("x")], [5], [told(b"x", b"a", b"b")]),
    Batch(0, [], [6], [told(SMILE[:2], SMILE[:2], SMILE[:3])]),
    Batch(0, [TextDelta("🙂")], [7], [told(SMILE[2:], SMILE[2:])]),
    Batch(1, [], [8], [told(b"<|im_end|>")], finish_reason="stop"),
    Batch(0, [TextDelta("!")], [9], [told(b"!", b"!")], finish_reason="length"),
]


def whole(prompted: list[Prompted], shown: ShownTokens) -> dict[str, Any]:
    putting = WholeCompletion(ANSWER, prompted, shown)
    for batch in BATCHES:
        putting.add(batch)
    body: dict[str, Any] = json.loads(putting.encode(["length", "stop"], USAGE))
    return body


def frames(prompted: list[Prompted], shown: ShownTokens, *, include_usage: bool) -> list[dict[str, Any]]:
    stream = CompletionStream(ANSWER, prompted, shown, include_usage=include_usage)
    raw = stream.start() + b"".join(map(stream.batch, BATCHES)) + stream.finish(USAGE)
    assert raw.endswith(b"data: [DONE]\n\n")
    return [json.loads(each.removeprefix("data: ")) for each in raw.decode().split("\n\n")[:-2]]


@pytest.mark.parametrize("shown", [ShownTokens(), EVERYTHING, ShownTokens(logprobs=True), ShownTokens(token_ids=True)])
@pytest.mark.parametrize("prompted", [PROMPTED, [Prompted(), Prompted()], [Prompted("He"), Prompted("")]])
@pytest.mark.parametrize("include_usage", [False, True])
def test_frames_add_up_to_the_whole_answer_and_both_are_openais(
    prompted: list[Prompted], shown: ShownTokens, include_usage: bool
) -> None:
    body = whole(prompted, shown)
    Completion.model_validate_json(json.dumps(body))
    openai.types.Completion.model_validate(body)
    parts: list[dict[str, Any]] = [{"text": "", "logprobs": {}, "finish_reason": None} for _ in prompted]
    chunks = frames(prompted, shown, include_usage=include_usage)
    for chunk in chunks:
        CompletionPiece.model_validate_json(json.dumps(chunk))
        assert chunk["object"] == "text_completion"
        for choice in chunk["choices"]:
            part = parts[choice["index"]]
            assert part["finish_reason"] is None, "the reason comes last"
            part["text"] += choice["text"]
            part["finish_reason"] = choice["finish_reason"]
            for name, values in (choice["logprobs"] or {}).items():
                part["logprobs"].setdefault(name, []).extend(values)
            for name in ("prompt_token_ids", "token_ids"):
                if name in choice:
                    part.setdefault(name, []).extend(choice[name])
    for part, choice in zip(parts, body["choices"], strict=True):
        expected = {**choice, "logprobs": choice["logprobs"] or {}}
        del expected["index"]
        assert part == expected
    assert chunks[-1]["choices"] == ([] if include_usage else chunks[-1]["choices"])
    assert ("usage" in chunks[0]) is include_usage


def test_logprobs_are_four_lists_of_openais_shape() -> None:
    first, second = (choice["logprobs"] for choice in whole(PROMPTED, EVERYTHING)["choices"])
    # A part of a character is told by its bytes, so that no two look alike, and has no width until it is whole.
    assert first["tokens"] == ["llo", "bytes:\\xf0\\x9f", "bytes:\\x99\\x82", "!"]
    assert first["text_offset"] == [0, 3, 3, 4]
    assert first["top_logprobs"][0] == {"llo": -0.5, "y": -2.0}
    assert first["top_logprobs"][1] == {"bytes:\\xf0\\x9f": -0.5, "bytes:\\xf0\\x9f\\x99": -2.0}
    assert second["top_logprobs"][0] == {"a": -2.0, "b": -2.0, "x": -0.5}, "one more where the chosen one is not likely"
    assert second["token_logprobs"] == [-0.5, -0.5]


def test_usage_comes_once_and_last() -> None:
    chunks = frames(PROMPTED, ShownTokens(), include_usage=True)
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["usage"]["total_tokens"] == 12


def test_a_failure_is_one_error_event() -> None:
    frame = CompletionStream.failed(EngineDied("gone"))
    assert json.loads(frame.removeprefix(b"data: "))["error"]["code"] == "engine_dead"
