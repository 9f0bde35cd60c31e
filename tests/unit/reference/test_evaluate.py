"""The evaluation asks as clients do, and counts only equal answers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from server.reference import evaluate as evaluation
from server.reference.evaluate import TASKS, Score, evaluate, judge, questions, request, table, task_of


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
    assert all(score.thought == score.total == 4 for modes in scores.values() for score in modes.values())
    assert set(scores) == {task for tasks in TASKS.values() for task in tasks}
    assert {body["temperature"] for body in perfect} == {0}


def respond(message: dict[str, Any], finish_reason: str = "stop") -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"message": message, "finish_reason": finish_reason}]})


def test_an_answer_must_think_just_when_asked_to() -> None:
    made, _ = questions(1, 0)[0]
    thoughtless = httpx.Response(200, json=answer(made, thinking=False))
    assert judge(thoughtless, made, thinking=False) == evaluation.Verdict(thought=True)
    verdict = judge(thoughtless, made, thinking=True)
    assert not verdict.thought
    assert "thought" in verdict.wrong
    unclosed = judge(respond({"content": "", "reasoning": "On and on"}, "length"), made, thinking=True)
    assert not unclosed.thought
    leaked = judge(respond({"content": f"</think>{made.content}", "reasoning": "Hm."}), made, thinking=True)
    assert not leaked.thought


def test_a_wrong_answer_and_a_refusal_are_told() -> None:
    made, _ = questions(1, 0)[0]
    wrong = judge(respond({"content": "Tomato", "reasoning": "Hm."}), made, thinking=True)
    assert wrong.thought
    assert "'Tomato'" in wrong.wrong
    assert "status 503" in judge(httpx.Response(503, text="full"), made, thinking=False).wrong


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
    scores = {"sum": {"thinking": Score(9, 10, 10), "direct": Score(10, 10, 10)}}
    assert table(scores).splitlines()[-1] == "| sum | 9/10 | 10/10 |"
