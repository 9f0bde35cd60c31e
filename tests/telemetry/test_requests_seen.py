"""One request at a time: its log line, its ids, its trace, its cost."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.chat_client import WEATHER, ask, body, image_part, long_body, stream
from tests.daemon_process import MODEL
from tests.telemetry.observed import ADA, BOB, Observed

pytestmark = pytest.mark.engine

STAGES = {"receive", "render", "queue", "prefill", "decode", "send"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e47{:02x}"
PARENT = "00f067aa0ba902b7"


async def test_an_answer_has_its_id_and_one_line_with_its_stages_and_tokens(observed: Observed) -> None:
    async with observed.client(**{"x-request-id": "mine-1"}) as client:
        response = await client.post("/v1/chat/completions", json=body("What is 17 + 25?", service_tier="priority"))
    usage = response.json()["usage"]
    assert response.headers["x-request-id"] == "mine-1"
    line = observed.line("mine-1")
    assert (line["tenant"], line["key"], line["dialect"], line["model"]) == ("ada", "main", "chat", MODEL)
    assert (line["result"], line["outcome"], line["status"]) == ("finished", "stop", 200)
    assert line["priority"] == "interactive"
    assert line["prompt_tokens"] == usage["prompt_tokens"]
    assert line["completion_tokens"] == usage["completion_tokens"]
    assert line["reasoning_tokens"] == usage["completion_tokens_details"]["reasoning_tokens"] > 0
    assert line["answer_tokens"] == line["completion_tokens"] - line["reasoning_tokens"] - line["tool_tokens"]
    stages = {name.removesuffix("_seconds"): value for name, value in line.items() if name.endswith("_seconds")}
    assert set(stages) == STAGES
    assert 0 < sum(stages.values()) <= line["seconds"] + 0.01
    assert 0 < line["ttft"] < line["seconds"]
    assert line["tpot"] > 0
    assert "17" not in str({name: value for name, value in line.items() if name.endswith("text")})
    assert "What is 17" not in observed.daemon.log


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "-x", "é"])
async def test_an_id_that_cannot_stand_in_a_log_is_replaced(observed: Observed, given: str) -> None:
    async with observed.client() as client:
        response = await client.get("/v1/models", headers={"x-request-id": given.encode()})
    assert response.headers["x-request-id"].startswith("req_")


async def test_tokens_of_tool_calls_are_counted_apart(observed: Observed) -> None:
    before = observed.total("qwend_tokens_total", kind="tool")
    async with observed.client(**{"x-request-id": "tools-1"}) as client:
        answer = await ask(client, body("What is the weather in Lisbon?", tools=[WEATHER], tool_choice="required"))
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    line = observed.line("tools-1")
    assert (line["outcome"], line["answer_tokens"] >= 0) == ("tool_calls", True)
    # `<tool_call>`, `<function=get_weather>`, a parameter, and their ends.
    assert 10 <= line["tool_tokens"] <= line["completion_tokens"] - line["reasoning_tokens"]
    assert observed.total("qwend_tokens_total", kind="tool") == before + line["tool_tokens"]


async def test_a_thinking_budget_that_was_hit_is_counted(observed: Observed) -> None:
    labels = {"tenant": "ada", "effort": "low"}
    before = observed.total("qwend_thinking_budget_hits_total", **labels)
    async with observed.client(**{"x-request-id": "budget-1"}) as client:
        request = body("What is 17 + 25?", reasoning_effort="low", thinking_token_budget=4)
        await ask(client, request)
    line = observed.line("budget-1")
    assert (line["effort"], line.get("budget_hit")) == ("low", True), line
    assert observed.total("qwend_thinking_budget_hits_total", **labels) == before + 1


@pytest.mark.parametrize("way", ["whole", "streamed", "background"])
async def test_responses_are_followed_to_their_end(observed: Observed, way: str) -> None:
    """One in the background ends long after its HTTP answer, and has one record all the same."""
    request = {"model": MODEL, "input": "My name is Rosa. Say hello.", "stream": way == "streamed"}
    ended = observed.total("qwend_requests_total", dialect="responses", result="finished")
    async with observed.client(**{"x-request-id": f"responses-{way}"}) as client:
        answer = await client.post("/v1/responses", json={**request, "background": way == "background"})
        assert answer.status_code == 200
    line = observed.line(f"responses-{way}")
    assert (line["dialect"], line["tenant"], line["result"], line["outcome"]) == (
        "responses",
        "ada",
        "finished",
        "stop",
    )
    assert 0 < line["reasoning_tokens"] < line["completion_tokens"]
    assert observed.total("qwend_requests_total", dialect="responses", result="finished") == ended + 1


async def test_a_response_that_is_cancelled_is_told_as_such(observed: Observed) -> None:
    request = {"model": MODEL, "input": "Hi", "background": True, "ignore_eos": True, "max_output_tokens": 20_000}
    async with observed.client(**{"x-request-id": "responses-cancel"}) as client:
        queued = (await client.post("/v1/responses", json=request)).json()
        await client.post(f"/v1/responses/{queued['id']}/cancel")
    line = observed.line("responses-cancel")
    assert line["result"] == "cancelled"


async def test_media_are_counted(observed: Observed) -> None:
    before = observed.total("qwend_media_bytes_total", kind="image", source="data")
    content = [image_part((255, 0, 0)), {"type": "text", "text": "What color is this?"}]
    async with observed.client(**{"x-request-id": "media-1"}) as client:
        await ask(client, body(content))
        broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        assert (await client.post("/v1/chat/completions", json=body([broken]))).status_code == 400
    assert observed.total("qwend_media_bytes_total", kind="image", source="data") > before
    assert observed.total("qwend_media_items_total", outcome="taken") >= 1
    assert observed.total("qwend_media_items_total", outcome="failed") >= 1


async def test_a_trace_goes_on_through_the_stages_into_the_engine(observed: Observed) -> None:
    trace = TRACE.format(1)
    async with observed.client(traceparent=f"00-{trace}-{PARENT}-01") as client:
        response = await client.post("/v1/chat/completions", json=body(max_tokens=8))
    assert response.headers["traceparent"].split("-")[1] == trace
    spans = {span.name: span for span in observed.collector.trace(trace, 10)}
    root = spans[f"chat {MODEL}"]
    assert (root.parent_id, root.service, root.failed) == (PARENT, "qwend", False)
    assert response.headers["traceparent"].split("-")[2] == root.span_id
    for name in STAGES:
        assert spans[name].parent_id == root.span_id
        assert root.start <= spans[name].start <= spans[name].end <= root.end
    (engine,) = [span for span in spans.values() if span.name == "llm_request"]
    assert engine.parent_id == root.span_id
    usage = response.json()["usage"]
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": MODEL,
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "gen_ai.response.finish_reasons": [response.json()["choices"][0]["finish_reason"]],
        "qwend.tenant": "ada",
    }
    assert expected.items() <= root.attributes.items()
    assert observed.line(response.headers["x-request-id"])["trace_id"] == trace


@pytest.mark.parametrize(
    ("number", "key", "fields", "error"),
    [
        (2, "sk-wrong-0123456789abcdef", {}, "unauthorized"),
        (3, ADA, {"temperature": 9}, "invalid_request"),
        (4, ADA, {"model": "nothing"}, "invalid_request"),
        (5, ADA, {"max_tokens": 10**6}, "invalid_request"),
    ],
)
async def test_refused_requests_are_traced_too(
    observed: Observed, number: int, key: str, fields: dict[str, object], error: str
) -> None:
    trace = TRACE.format(number)
    async with observed.client(key, traceparent=f"00-{trace}-{PARENT}-01") as client:
        response = await client.post("/v1/chat/completions", json={**body(), **fields})
    assert response.status_code >= 400
    root = next(span for span in observed.collector.trace(trace, 2) if span.parent_id == PARENT)
    assert (root.failed, root.attributes["error.type"]) == (True, error)
    assert root.attributes["http.response.status_code"] == response.status_code


async def test_without_a_parent_the_ratio_decides(observed: Observed) -> None:
    async with observed.client(**{"x-request-id": "untraced-1"}) as client:
        await ask(client, body(max_tokens=2))
    trace = observed.line("untraced-1")["trace_id"]
    assert not [span for span in observed.collector.spans if span.trace_id == trace]


async def test_only_who_may_see_it_is_told_the_cost(observed: Observed) -> None:
    before = observed.total("qwend_cost_dollars_total", tenant="ada")
    async with observed.client(ADA, **{"x-request-id": "cost-1"}) as client:
        told = (await ask(client, body(max_tokens=50)))["usage"]["cost"]
        streamed = await stream(client, body(max_tokens=50, stream_options={"include_usage": True}), None)
        assert streamed.chunks[-1]["usage"]["cost"] > 0
    assert told > 0
    lines = [line for line in observed.lines("request") if line["request_id"] == "cost-1"]
    assert lines[0]["cost_dollars"] == pytest.approx(told, abs=1e-9)
    spent = told + streamed.chunks[-1]["usage"]["cost"]
    assert observed.total("qwend_cost_dollars_total", tenant="ada") == pytest.approx(before + spent)
    async with observed.client(BOB) as client:
        assert "cost" not in (await ask(client, body(max_tokens=2)))["usage"]
        asked = {"model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": "Hello!"}]}
        assert "cost" not in (await client.post("/v1/messages", json=asked)).json()["usage"]


async def test_the_money_of_the_hour_is_all_there(observed: Observed) -> None:
    """Over a stretch of load: what was spent on anything is the price of the time."""
    async with observed.client() as client:
        started = {kind: observed.total("qwend_cost_spent_dollars_total", kind=kind) for kind in KINDS}
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(ask(client, long_body(300)) for _ in range(4)))
        await asyncio.sleep(0.3)  # what is idle is counted four times a second
        took = asyncio.get_running_loop().time() - began
    spent = {kind: observed.total("qwend_cost_spent_dollars_total", kind=kind) - started[kind] for kind in KINDS}
    assert spent["output"] > spent["input"] > 0
    assert sum(spent.values()) == pytest.approx(7.2 / 3600 * took, rel=0.25)


KINDS = ("input", "cached", "output", "idle")


async def test_the_log_level_changes_while_it_runs_and_the_audit_log_says_who_did(observed: Observed) -> None:
    async with httpx.AsyncClient(base_url=observed.daemon.admin_url) as admin:
        assert (await admin.get("/admin/log-level")).json() == {"level": "info"}
        assert (await admin.put("/admin/log-level", json={"level": "warning"})).status_code == 200
        try:
            async with observed.client(**{"x-request-id": "unlogged-1"}) as client:
                await ask(client, body(max_tokens=1))
        finally:
            await admin.put("/admin/log-level", json={"level": "info"})
        async with observed.client(**{"x-request-id": "logged-1"}) as client:
            await ask(client, body(max_tokens=1))
        assert (await admin.put("/admin/log-level", json={"level": "loud"})).status_code == 422
    observed.line("logged-1")
    assert "unlogged-1" not in observed.daemon.log
    actions = [line for line in observed.lines("audit") if line["action"] == "admin"]
    assert [(line["method"], line["path"], line["status"]) for line in actions[-3:]] == [
        ("PUT", "/admin/log-level", 200),
        ("PUT", "/admin/log-level", 200),
        ("PUT", "/admin/log-level", 422),
    ]


async def test_refused_keys_are_in_the_audit_log_without_the_key(observed: Observed) -> None:
    async with observed.client("sk-guess-0123456789abcdef", **{"x-request-id": "guess-1"}) as client:
        assert (await client.get("/v1/models")).status_code == 401
    (line,) = [line for line in observed.lines("audit") if line.get("request_id") == "guess-1"]
    assert (line["action"], line["path"], line["client"]) == ("auth_failure", "/v1/models", "127.0.0.1")
    assert "sk-guess" not in observed.daemon.log


async def test_the_status_page_and_what_it_shows(observed: Observed) -> None:
    async with httpx.AsyncClient(base_url=observed.daemon.admin_url) as admin, observed.client(BOB) as client:
        page = await admin.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "http" not in page.text.replace("<!doctype html>", ""), "it asks nobody else for anything"
        assert (await admin.get("/admin/status", headers={"origin": "http://evil"})).status_code == 403
        running = asyncio.create_task(ask(client, long_body(400)))
        for _ in range(100):
            status = (await admin.get("/admin/status")).json()
            if status["running"] and status["running"][0]["made_tokens"] > 8:
                break
            await asyncio.sleep(0.05)
        (sequence,) = [each for each in status["running"] if each["tenant"] == "bob"]
        assert (sequence["priority"], sequence["stage"], sequence["age"] > 0) == ("standard", "decode", True)
        assert (status["state"], status["in_flight"], status["model"]) == ("serving", 1, MODEL)
        assert 0 < status["kv_blocks_used"] <= status["kv_blocks"]
        assert status["heartbeat_age"] < 1
        await running
        await client.post("/v1/chat/completions", json=body(temperature=9), headers={"x-request-id": "refused-1"})
        status = (await admin.get("/admin/status")).json()
        assert (status["refusals"][0]["request_id"], status["refusals"][0]["tenant"]) == ("refused-1", "bob")
        assert status["counters"]["decode_tokens"] > 400
        assert status["dollars_per_million"]["output"] > 0
