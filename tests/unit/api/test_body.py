from __future__ import annotations

import json
import time

import pytest
from starlette.requests import Request

from server.api.body import read_body
from server.dialects.chat_request import ChatRequest
from server.dialects.parsing import parse_body
from server.generation.errors import BodyTooLarge, InvalidRequest


def request(body: bytes) -> Request:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def test_a_body_of_many_small_values_is_refused_before_it_is_parsed() -> None:
    body = json.dumps({"prompt": list(range(2000))}).encode()
    assert await read_body(request(body), 10**6, 2000) == body
    with pytest.raises(BodyTooLarge, match="more than 1000 values"):
        await read_body(request(body), 10**6, 1000)


def test_a_thousand_wrong_parts_cost_no_more_than_one() -> None:
    """The CPU time of all of them beside that of one: without an end at the first, each adds its own error."""

    def seconds(messages: int) -> float:
        parts = [{"type": "wrong"}] * 60
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}] * messages}).encode()
        began = time.process_time()
        with pytest.raises(InvalidRequest) as refused:
            parse_body(ChatRequest, body)
        assert refused.value.param == "messages[0].content[0].type"
        return time.process_time() - began

    seconds(1)
    # Reading the JSON itself grows with it; collecting errors took 2 s.
    assert min(seconds(2000) for _ in range(3)) < 0.5
