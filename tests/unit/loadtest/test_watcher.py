"""What the server says of itself during a run, and what is done to it."""

from __future__ import annotations

import asyncio
import time

from loadtest.scenario_schema import Event
from loadtest.watcher import Watcher, gauges
from tests.unit.loadtest.scripted_server import ScriptedServer

TEXT = """
# HELP vllm:num_requests_running Number of requests.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0"} 7
qwend_admission_waiting{class="batch"} 4
qwend_admission_waiting{class="standard"} 1 1700000000
vllm:num_requests_waiting_by_reason{reason="x"} 100
"""


def test_gauges_are_added_up_over_their_labels() -> None:
    assert gauges(TEXT) == {"running": 5, "engine queue": 7, "admission queue": 5}
    assert gauges("not metrics") == {}


async def watched(status: bytes) -> Watcher:
    async def script(number: int, body: object, writer: asyncio.StreamWriter) -> bool:
        text = TEXT.encode()
        writer.write(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n" % (status, len(text)) + text)
        return False

    async with ScriptedServer(script) as server:
        root = server.url.removesuffix("/v1")
        event = Event(at=0.3, post="{admin_url}/admin/drain")
        watcher = Watcher(f"{root}/metrics", [event, Event(at=60, post="{admin_url}/never")], root + "/", {"x-a": "b"})
        watcher.begin(time.monotonic())
        await asyncio.sleep(1.6)
        await asyncio.to_thread(watcher.end)
        heads = [each.split("\r\n")[0] for each in server.heads]
        assert heads.count("POST /admin/drain HTTP/1.1") == 1
        assert heads.count("GET /metrics HTTP/1.1") == 2
        assert "x-a: b" in next(each for each in server.heads if each.startswith("GET"))
    return watcher


async def test_gauges_are_read_each_second_and_events_happen_once() -> None:
    seen = (await watched(b"200 OK")).seen
    assert seen.gauges == {"running": [5, 5], "engine queue": [7, 7], "admission queue": [5, 5]}
    assert len(seen.at) == 2
    assert seen.events == [{"at": 0.3, "post": seen.events[0]["post"], "status": 200}]


async def test_a_server_without_metrics_is_no_failure() -> None:
    seen = (await watched(b"404 Not Found")).seen
    assert (seen.at, seen.gauges, seen.misses) == ([], {}, 2)
