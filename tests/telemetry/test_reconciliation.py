"""What came in is what ended, and metrics, usage and log tell the same tokens; and series are bounded."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections import Counter
from typing import Any

import httpx
import pytest

from server.telemetry.bounded_labels import OTHER
from server.telemetry.cost import charge
from server.telemetry.requests import Requests
from tests.chat_client import WEATHER, body, stream
from tests.daemon_process import MODEL
from tests.telemetry.failing_cli import AT_ONCE, IN_THE_MIDDLE
from tests.telemetry.observed import ADA, BOB, CAROL, Observed

REQUESTS = 640
KINDS = (
    *("whole", "stream", "messages", "completions", "tools", "bad", "model", "cancel", "deadline"),
    *("failing", "failing stream", "background", "cancelled background"),
)


async def in_background(client: httpx.AsyncClient, number: int, tokens: int, *, cancel: bool) -> dict[str, Any] | None:
    """A response that is made in the background, as it is when it has ended; None where it was refused."""
    asked = {
        "model": MODEL,
        "input": "Hello!",
        "background": True,
        "max_output_tokens": 2000 if cancel else tokens + 16,
    }
    response = await client.post("/v1/responses", json=asked, headers={"x-request-id": f"mixed-{number}"})
    if response.status_code != 200:
        return None
    told: dict[str, Any] = response.json()
    if cancel:
        await client.post(f"/v1/responses/{told['id']}/cancel")
    while told["status"] in ("queued", "in_progress"):
        await asyncio.sleep(0.1)
        told = (await client.get(f"/v1/responses/{told['id']}")).json()
    return told


async def one(
    observed: Observed, clients: dict[str, httpx.AsyncClient], number: int, seen: list[dict[str, Any]]
) -> None:
    """One request of the mixed load; whole answers' usage is kept."""
    draw = random.Random(number)
    who = draw.choice(["ada", "ada", "bob", "carol", "nobody"])
    client = clients[who]
    fields: dict[str, Any] = {"max_tokens": draw.choice([1, 8, 24])}
    headers = {"x-request-id": f"mixed-{number}"}
    kind = draw.choice(KINDS)
    if kind in ("failing", "failing stream"):
        # Planted in the engine; what it had made by then counts.
        fields = {"max_tokens": draw.choice([AT_ONCE, IN_THE_MIDDLE]), "ignore_eos": True}
    if kind in ("background", "cancelled background"):
        told = await in_background(client, number, fields["max_tokens"], cancel=kind != "background")
        if told is not None and told["status"] in ("completed", "incomplete"):
            usage = told["usage"]
            details = {"reasoning_tokens": usage["output_tokens_details"]["reasoning_tokens"]}
            cached = {"cached_tokens": usage["input_tokens_details"]["cached_tokens"]}
            counts = {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]}
            seen.append({**counts, "completion_tokens_details": details, "prompt_tokens_details": cached, "id": number})
        return
    if kind == "cancel":
        with contextlib.suppress(httpx.TimeoutException):
            await client.post(
                "/v1/chat/completions", json=body(max_tokens=2000, ignore_eos=True), headers=headers, timeout=0.4
            )
        return
    if kind == "messages":
        asked = {"model": MODEL, "messages": body()["messages"], **fields}
        response = await client.post("/v1/messages", json=asked, headers=headers)
    elif kind == "completions":
        asked = {"model": MODEL, "prompt": ["Hello", "One two"], **fields}
        response = await client.post("/v1/completions", json=asked, headers=headers)
    elif kind in ("stream", "failing stream"):
        streamed = await stream(client, body(**fields, stream_options={"include_usage": True}), headers=headers)
        if streamed.status == 200 and streamed.error is None:
            seen.append({**streamed.chunks[-1]["usage"], "id": number})
        return
    else:
        if kind == "tools":
            fields |= {"tools": [WEATHER], "tool_choice": "required", "max_tokens": 120}
        if kind == "bad":
            fields["temperature"] = 9
        if kind == "model":
            fields["model"] = f"nothing-{number}"
        if kind == "deadline":
            headers["x-request-timeout-ms"] = "5"
        response = await client.post("/v1/chat/completions", json={**body(), **fields}, headers=headers)
    if response.status_code == 200:
        usage = response.json()["usage"]
        if kind == "messages":
            prompt = usage["input_tokens"] + usage["cache_read_input_tokens"]
            usage = {"prompt_tokens": prompt, "completion_tokens": usage["output_tokens"]}
        seen.append({**usage, "id": number})


@pytest.mark.engine
async def test_requests_and_tokens_reconcile_over_a_mixed_load(observed: Observed) -> None:
    kinds = ("prompt", "cached", "reasoning", "answer", "tool")
    names = [("qwend_requests_received_total", {}), ("qwend_requests_total", {})]
    names += [("qwend_tokens_total", {"kind": kind}) for kind in kinds]
    before = [observed.total(name, **labels) for name, labels in names]
    usages: list[dict[str, Any]] = []
    keys = {"ada": ADA, "bob": BOB, "carol": CAROL, "nobody": "sk-nobody-0123456789abcdef"}
    async with contextlib.AsyncExitStack() as stack:
        clients = {name: await stack.enter_async_context(observed.client(key)) for name, key in keys.items()}
        places = asyncio.Semaphore(24)

        async def placed(number: int) -> None:
            async with places:
                await one(observed, clients, number, usages)

        await asyncio.gather(*map(placed, range(REQUESTS)))
    deadline = time.monotonic() + 10
    while observed.total("qwend_requests_in_flight") and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    after = [observed.total(name, **labels) for name, labels in names]
    arrived, ended, *tokens = (then - earlier for then, earlier in zip(after, before, strict=True))
    lines = [line for line in observed.lines("request") if line["request_id"].startswith("mixed-")]
    results = Counter(line["result"] for line in lines)
    print(f"{REQUESTS} requests: {dict(results)}; {dict(Counter(line['outcome'] for line in lines))}")
    assert arrived == ended == len(lines) == REQUESTS
    by_dialect = Counter(line["dialect"] for line in lines)
    print(f"of {dict(by_dialect)}")
    assert {"finished", "refused", "cancelled", "failed"} <= set(results)
    assert results["failed"] > 20
    assert by_dialect["responses"] > 40
    assert results["cancelled"] > 10
    assert results["refused"] > 50
    for kind, counted in zip(kinds, tokens, strict=True):
        assert counted == sum(line[f"{kind}_tokens"] for line in lines), kind
    by_id = {line["request_id"]: line for line in lines}
    assert len(usages) == results["finished"] > 100
    for usage in usages:
        line = by_id[f"mixed-{usage['id']}"]
        assert line["prompt_tokens"] == usage["prompt_tokens"]
        assert line["completion_tokens"] == usage["completion_tokens"]
        if "completion_tokens_details" in usage:
            assert line["reasoning_tokens"] == usage["completion_tokens_details"]["reasoning_tokens"]
            assert line["cached_tokens"] == usage["prompt_tokens_details"]["cached_tokens"]


def series(text: str) -> int:
    return sum(1 for line in text.splitlines() if re.match(r"(qwend|gen_ai)_", line))


@pytest.mark.engine
async def test_whatever_clients_send_the_series_are_bounded(observed: Observed) -> None:
    """10,000 distinct models and user fields: refused ones at full speed, over HTTP."""
    counts = []
    async with observed.client(BOB) as client:
        places = asyncio.Semaphore(16)

        async def send(number: int) -> None:
            async with places:
                asked = body(model=f"model-{number}", user=f"user-{number}", reasoning_effort=f"effort-{number}")
                headers = {"x-request-id": f"id-{number}", "user-agent": f"agent-{number}"}
                await client.post("/v1/chat/completions", json=asked, headers=headers)

        await asyncio.gather(*map(send, range(20)))
        counts.append(series((await client.get("/metrics")).text))
        await asyncio.gather(*map(send, range(20, 10_020)))
        counts.append(series((await client.get("/metrics")).text))
    print(f"series before and after 10,000 distinct models, users, efforts, ids: {counts}")
    assert counts[1] == counts[0] < 3000


def test_tenants_beyond_the_bound_are_one() -> None:
    requests = Requests(tenants=8, models=["m"], efforts=["low"], views=[], charge=charge)
    labels = {requests.tenant_label(f"tenant-{number}") for number in range(10_000)}
    assert labels == {f"tenant-{number}" for number in range(8)} | {OTHER}
    for number in range(10_000):
        trail = requests.arrived("chat", f"id-{number}")
        trail.tenant, trail.model, trail.effort = f"tenant-{number}", f"model-{number}", f"effort-{number}"
        trail.outcome = "stop"
        record = requests.ended(trail)
        assert record.tenant == f"tenant-{number}", "the log names everyone"
    from server.telemetry.request_metrics import REQUESTS as COUNTED

    mine = [s for m in COUNTED.collect() for s in m.samples if s.labels.get("tenant", "").startswith("tenant-")]
    assert len({sample.labels["tenant"] for sample in mine}) == 8
