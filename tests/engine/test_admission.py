"""Admission on the real engine, one small enough to be full: two sequences at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.chat_client import Streamed, ask, body, long_body, metric, stream
from tests.daemon_process import DaemonProcess

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def small() -> Iterator[DaemonProcess]:
    # Of two places no share can be held back.
    shares = {f"QWEND_ADMISSION__CLASSES__{name}__SHARE": "1.0" for name in ("STANDARD", "BATCH")}
    running = DaemonProcess(environment={"QWEND_ENGINE": json.dumps({"max_num_seqs": "2"}), **shares})
    try:
        yield running.wait_ready()
    finally:
        running.stop()


@pytest.fixture
async def client(small: DaemonProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=small.url, timeout=60) as client:
        yield client


async def queue(daemon: DaemonProcess) -> dict[str, object]:
    async with httpx.AsyncClient(base_url=daemon.admin_url) as admin:
        found: dict[str, object] = (await admin.get("/admin/queue")).json()
        return found


async def waiting(daemon: DaemonProcess, count: int) -> list[dict[str, object]]:
    """What waits, once so many do."""
    for _ in range(400):
        state = await queue(daemon)
        if len(state["requests"]) >= count:  # type: ignore[arg-type]
            return state["requests"]  # type: ignore[return-value]
        await asyncio.sleep(0.01)
    raise AssertionError(f"never {count} waiting: {state}")


async def started(client: httpx.AsyncClient, tokens: int, **fields: object) -> tuple[asyncio.Task[Streamed], Streamed]:
    """A stream that has its first frame."""
    seen = Streamed()
    task = asyncio.create_task(stream(client, long_body(tokens, **fields), seen))
    while not seen.chunks:
        assert not task.done(), task
        await asyncio.sleep(0.005)
    return task, seen


async def test_what_does_not_fit_waits_and_is_shown(client: httpx.AsyncClient, small: DaemonProcess) -> None:
    running = [await started(client, 500) for _ in range(2)]
    third = asyncio.create_task(stream(client, long_body(5)))
    (shown,) = await waiting(small, 1)
    assert (shown["tenant"], shown["priority"], shown["why"]) == ("anonymous", "standard", "sequences")
    assert shown["prompt_tokens"] > 0  # type: ignore[operator]
    done = await third
    assert done.done
    assert all(seen.done for seen in await asyncio.gather(*(task for task, _ in running)))
    state = await queue(small)
    assert (state["waiting"], state["sequences"]) == (0, {"used": 0, "limit": 2})


async def test_classes_go_in_their_order_not_in_that_of_arrival(
    client: httpx.AsyncClient, small: DaemonProcess
) -> None:
    running = [await started(client, 500) for _ in range(2)]
    later: dict[str, Streamed] = {}
    tasks = []
    for tier in ("flex", "default", "priority"):
        later[tier] = Streamed()
        tasks.append(asyncio.create_task(stream(client, long_body(20, service_tier=tier), later[tier])))
        await waiting(small, len(tasks))
    order = [shown["priority"] for shown in await waiting(small, 3)]
    assert order == ["interactive", "standard", "batch"]
    await asyncio.gather(*tasks, *(task for task, _ in running))
    assert all(each.done for each in later.values())
    assert later["priority"].times[0] <= later["default"].times[0] <= later["flex"].times[0]


async def test_batch_gives_its_place_away_and_goes_on_unnoticed(
    client: httpx.AsyncClient, small: DaemonProcess
) -> None:
    question = body("Count from 1 to 40.", enable_thinking=False, max_tokens=200)
    whole = await ask(client, question)
    undisturbed, used = whole["choices"][0], whole["usage"]["completion_tokens"]
    assert used > 60, "an answer long enough to be stopped in"
    before = await metric(client, "qwend_admission_stops_total")
    other, _ = await started(client, 3000)
    seen = Streamed()
    flex = {**question, "service_tier": "flex", "stream_options": {"include_usage": True}}
    counting = asyncio.create_task(stream(client, flex, seen))
    while len(seen.chunks) < 4:
        await asyncio.sleep(0.002)
    urgent = await stream(client, long_body(40, service_tier="priority"))
    assert urgent.done
    assert not seen.done
    await counting
    other.cancel()
    assert await metric(client, "qwend_admission_stops_total") == before + 1
    assert (seen.done, seen.error, seen.finish_reason) == (True, None, "stop")
    assert seen.content == undisturbed["message"]["content"]
    assert seen.chunks[-1]["usage"]["completion_tokens"] == used


@pytest.mark.parametrize("streamed", [False, True])
async def test_who_cannot_be_served_in_time_is_told_at_once(client: httpx.AsyncClient, streamed: bool) -> None:
    running = [await started(client, 400) for _ in range(2)]
    response = await client.post(
        "/v1/chat/completions",
        json=body("hello", stream=streamed),
        headers={"x-request-timeout-ms": "50"},
    )
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (503, "deadline_unreachable", "service_unavailable")
    assert 1 <= int(response.headers["retry-after"]) <= 66
    assert 1000 <= int(response.headers["retry-after-ms"]) <= 66_000
    for task, _ in running:
        task.cancel()
    await asyncio.gather(*(task for task, _ in running), return_exceptions=True)


async def test_a_running_answer_ends_when_its_time_is_up(client: httpx.AsyncClient) -> None:
    seen = await stream(client, long_body(6000), headers={"x-request-timeout-ms": "2500"})
    assert seen.chunks
    assert not seen.done
    assert seen.error is not None
    assert seen.error["code"] == "deadline_exceeded"


@pytest.mark.parametrize("value", ["soon", "-1", "0", "1e12", "nan"])
async def test_a_time_limit_that_is_none_is_refused(client: httpx.AsyncClient, value: str) -> None:
    response = await client.post("/v1/chat/completions", json=body("hello"), headers={"x-request-timeout-ms": value})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "x-request-timeout-ms")


async def test_an_unknown_tier_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/chat/completions", json=body("hello", service_tier="platinum"))
    assert (response.status_code, response.json()["error"]["param"]) == (400, "service_tier")


async def test_more_answers_than_run_at_once_can_never_run(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/chat/completions", json=body("hello", n=3))
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "request_too_large_for_engine", "n")


async def test_who_leaves_the_queue_is_forgotten(client: httpx.AsyncClient, small: DaemonProcess) -> None:
    running = [await started(client, 500) for _ in range(2)]
    third = asyncio.create_task(stream(client, long_body(5)))
    await waiting(small, 1)
    third.cancel()
    for _ in range(200):
        if not (await queue(small))["waiting"]:
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("it still waits")
    assert all(seen.done for seen in await asyncio.gather(*(task for task, _ in running)))


async def test_several_prompts_wait_for_their_places_one_by_one(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/v1/completions",
        json={"model": "qwen3.5-reference", "prompt": ["one", "two", "three", "four"], "max_tokens": 8},
    )
    assert response.status_code == 200, response.text
    assert len(response.json()["choices"]) == 4
