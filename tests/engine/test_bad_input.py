"""What cannot be served is refused with its true status and the parameter's name, and disturbs nobody."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.chat_client import ask, body, long_body
from tests.daemon_process import DaemonProcess
from tests.engine.hostile_bodies import CASES, MESSAGES, Case
from tests.message_events import added_up, events

pytestmark = pytest.mark.engine

# Longest that any of these bodies may take to be answered, and the stream beside them may stand still, in seconds:
# generous, since two cores run the daemon, its engine and the tests.
SLOWEST_ANSWER = 20.0
LONGEST_GAP = 5.0


class Beside:
    """An unrelated stream, begun anew whenever it has ended, read in a thread of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.frames = 0
        self.failure: str | None = None
        self.slowest = (0.0, "")
        self.case = ""

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)

    async def goes_on(self) -> None:
        """Returns once the stream has brought something new; fails if it has failed or stands still."""
        before, deadline = self.frames, time.monotonic() + 30
        while self.frames == before:
            assert self.failure is None, self.failure
            assert time.monotonic() < deadline, "the stream beside stands still"
            await asyncio.sleep(0.01)

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._ended.is_set():
                try:
                    self._read(client)
                except Exception as error:  # noqa: BLE001 - told by the test that waits for it
                    self.failure = repr(error)
                    return

    def _read(self, client: httpx.Client) -> None:
        request = {**long_body(2000), "stream": True}
        with client.stream("POST", "/v1/chat/completions", json=request) as response:
            assert response.status_code == 200
            last: float | None = None
            for line in response.iter_lines():
                if self._ended.is_set():
                    return
                if not line.startswith("data: "):
                    continue
                assert '"error"' not in line[:20], line
                now = time.monotonic()
                if last is not None:
                    self.slowest = max(self.slowest, (now - last, self.case))
                last = now
                self.frames += 1
            assert line == "" or last is not None


@pytest.fixture(scope="module")
def beside(daemon: DaemonProcess) -> Iterator[Beside]:
    with Beside(daemon.url) as running:
        yield running


@pytest.fixture(scope="module")
def took() -> dict[str, float]:
    return {}


def told(response: httpx.Response) -> Any:
    """The JSON of an answer, or of the first frame of a stream."""
    return json.loads(response.text.split("\n\n")[0].removeprefix("data: "))


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", CASES)
async def test_it_is_answered_beside_a_running_stream(
    client: httpx.AsyncClient, beside: Beside, took: dict[str, float], name: str, streamed: bool
) -> None:
    case: Case = CASES[name]
    content = case.encoded(streamed=streamed)
    beside.case = name
    await beside.goes_on()
    began = time.monotonic()
    response = await client.post("/v1/chat/completions", content=content, headers=case.headers)
    seconds = time.monotonic() - began
    took[name] = max(seconds, took.get(name, 0.0))
    if case.status == 200:
        assert response.status_code == 200, response.text[:1000]
        assert "choices" in told(response), response.text[:1000]
        assert '"error"' not in response.text[-500:]
    else:
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (case.status, case.code, case.param), error[
            "message"
        ]
        assert response.headers["content-type"] == "application/json"
        assert error["type"] == "invalid_request_error"
        assert 0 < len(response.content) < 4096, "what was sent is not sent back"
        assert not re.search(r"\b0x[0-9a-f]{6,}|object at", response.text), "no address of the heap is told"
    assert seconds < SLOWEST_ANSWER
    await beside.goes_on()


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", MESSAGES)
async def test_the_messages_route_answers_it_beside_a_running_stream(
    client: httpx.AsyncClient, beside: Beside, took: dict[str, float], name: str, streamed: bool
) -> None:
    case: Case = MESSAGES[name]
    content = case.encoded(streamed=streamed)
    beside.case = name
    await beside.goes_on()
    began = time.monotonic()
    response = await client.post("/v1/messages", content=content, headers=case.headers)
    seconds = time.monotonic() - began
    took[name] = max(seconds, took.get(name, 0.0))
    assert response.status_code == case.status, response.text[:1000]
    if case.status == 200:
        message = added_up(events(response.content)) if streamed else response.json()
        assert message["stop_reason"]
    else:
        error = response.json()["error"]
        assert error["details"] == {"error_code": case.code, "param": case.param}, error["message"]
        assert error["type"] == {404: "not_found_error"}.get(case.status, "invalid_request_error")
        assert case.param is None or case.param in error["message"]
        assert 0 < len(response.content) < 4096, "what was sent is not sent back"
    assert seconds < SLOWEST_ANSWER
    # The same prompt is only counted: nothing that is refused for it is counted, and nothing else breaks it.
    counted = await client.post("/v1/messages/count_tokens", content=content, headers=case.headers)
    assert counted.status_code in (200, case.status), counted.text[:1000]
    await beside.goes_on()


async def test_the_stream_beside_hardly_noticed(
    client: httpx.AsyncClient, beside: Beside, took: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    gap, name = beside.slowest
    slow = sorted(took.items(), key=lambda each: -each[1])[:5]
    with capsys.disabled():
        print(
            f"\n{len(CASES) + len(MESSAGES)} bodies; "
            f"slowest gap of the stream beside: {gap * 1000:.0f} ms, during {name!r}"
        )
        print("slowest answers: " + ", ".join(f"{each} {seconds:.2f} s" for each, seconds in slow))
    assert len(CASES) >= 65
    assert len(MESSAGES) >= 50
    assert gap < LONGEST_GAP


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient, declared: bool) -> None:
    chunk = b" " * 2**20

    async def undeclared() -> Any:
        for _ in range(40):
            yield chunk

    content = chunk * 40 if declared else undeclared()
    response = await client.post("/v1/chat/completions", content=content)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


async def test_it_still_serves_after_all_that(client: httpx.AsyncClient) -> None:
    answer = await ask(client, body("My name is Gopira. Say hello.", enable_thinking=False))
    assert "Gopira" in answer["choices"][0]["message"]["content"]
