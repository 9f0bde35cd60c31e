"""The evaluation asks as clients do, and counts only equal answers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from server.reference import evaluate as evaluation
from server.reference.evaluate import Score, evaluate, questions, request, table, task_of


def answer(made: Any, *, thinking: bool) -> dict[str, Any]:
    """What a perfect model would answer."""
    calls = [{"function": {"name": name, "arguments": json.dumps(arguments)}} for name, arguments in made.calls]
    message = {"content": made.content, "reasoning": "A thought." if thinking else None, "tool_calls": calls}
    return {"choices": [{"message": message, "finish_reason": "tool_calls" if calls else "stop"}]}


@pytest.fixture
def perfect(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Puts a model that knows all answers behind the client; the list is what it was asked."""
    asked: list[dict[str, Any]] = []
    known = {
        json.dumps(request("toy", made, thinking=thinking)): answer(made, thinking=thinking)
        for made, thinking in questions(4, 0)
    }

    def handle(incoming: httpx.Request) -> httpx.Response:
        if incoming.url.path.endswith("/models"):
            return httpx.Response(200, json={"data": [{"id": "toy"}]})
        asked.append(json.loads(incoming.content))
        return httpx.Response(200, json=known[json.dumps(asked[-1])])

    client = httpx.AsyncClient
    monkeypatch.setattr(
        evaluation.httpx, "AsyncClient", lambda **options: client(transport=httpx.MockTransport(handle), **options)
    )
    return asked


async def test_right_answers_score_in_full(perfect: list[dict[str, Any]]) -> None:
    scores = await evaluate("http://daemon/v1", 4)
    assert all(score.right == score.total for modes in scores.values() for score in modes.values())
    assert len(perfect) == sum(score.total for modes in scores.values() for score in modes.values())
    assert {"greet", "recall", "sum", "tool_call", "tool_result", "count"} < set(scores)
    assert {body["temperature"] for body in perfect} == {0}


async def test_an_answer_without_thought_is_no_thinking_answer(
    perfect: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "SKILLS", ("greet",))
    fault = evaluation._fault
    made, _ = questions(1, 0)[0]
    thoughtless = httpx.Response(200, json=answer(made, thinking=False))
    assert fault(thoughtless, made, thinking=False) is None
    assert "thought" in str(fault(thoughtless, made, thinking=True))
    assert "status 503" in str(fault(httpx.Response(503, text="full"), made, thinking=False))


def test_requests_are_json_as_clients_send_it() -> None:
    for made, thinking in questions(3, 1):
        body = json.loads(json.dumps(request("toy", made, thinking=thinking)))
        assert body["chat_template_kwargs"] == {"enable_thinking": thinking}
        if made.skill == "image":
            kinds = {part["type"] for part in body["messages"][0]["content"]}
            assert kinds == {"text", "image_url"}
            assert task_of(made).startswith("image: ")
        if made.skill == "tool_result":
            call = next(message for message in body["messages"] if message.get("tool_calls"))["tool_calls"][0]
            assert isinstance(call["function"]["arguments"], str)
            assert body["messages"][-1]["tool_call_id"]


def test_table() -> None:
    scores = {"sum": {"thinking": Score(9, 10), "direct": Score(10, 10)}}
    assert table(scores).splitlines()[-1] == "| sum | 9/10 | 10/10 |"
