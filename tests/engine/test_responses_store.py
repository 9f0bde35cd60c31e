"""Stored responses over HTTP: whose they are, what a restart leaves, and a store that fails."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import random
import resource
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests import chat_client
from tests.daemon_process import DaemonProcess
from tests.response_events import events
from tests.responses_client import ask, body, get, said, user

pytestmark = pytest.mark.engine

ADA, ADAS_OTHER, BOB = (f"sk-{name}-0123456789abcdef" for name in ("ada", "other", "bob"))
TENANTS = f"""
tenants:
  - {{name: ada, keys: [{{key: {ADA}, name: main}}, {{key: {ADAS_OTHER}, name: other}}]}}
  - {{name: bob, keys: [{BOB}]}}
"""
BUSY_SECONDS = 1.0
MOST_ENTRIES = 6
# More than the daemon writes into its log, less than a picture takes.
LARGEST_FILE = 512 * 1024


class Kept:
    """A daemon that keeps its responses in a file, and can be started anew over it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "responses.sqlite"
        self.tenants = folder / "tenants.yaml"
        self.tenants.write_text(TENANTS)
        self.daemon = self._start()

    def _start(self) -> DaemonProcess:
        environment = {
            "QWEND_RESPONSES_STORE__URL": f"sqlite:///{self.file}",
            "QWEND_RESPONSES_STORE__BUSY_SECONDS": str(BUSY_SECONDS),
            "QWEND_RESPONSES_STORE__MAX_ENTRIES_PER_KEY": str(MOST_ENTRIES),
            "QWEND_SERVER__DRAIN_SECONDS": "1",
        }
        return DaemonProcess("--tenants", str(self.tenants), environment=environment).wait_ready()

    def restart(self) -> None:
        self.daemon.terminate()
        assert self.daemon.wait(30) == 0, self.daemon.log
        self.daemon.stop()
        self.daemon = self._start()

    def client(self, key: str = ADA) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.daemon.url, timeout=60, headers={"authorization": f"Bearer {key}"})


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    kept = Kept(tmp_path_factory.mktemp("responses"))
    try:
        yield kept
    finally:
        kept.daemon.stop()


def stored(content: Any = "My name is Rosa. Say hello.", **fields: Any) -> dict[str, Any]:
    return {**body(content, **fields), "store": True}


async def test_a_response_belongs_to_the_key_that_made_it(kept: Kept) -> None:
    async with kept.client() as client:
        response = await ask(client, stored())
        running = await ask(client, stored(background=True, ignore_eos=True, max_output_tokens=20_000))
        for key in (ADAS_OTHER, BOB):
            async with kept.client(key) as other:
                for id in (response["id"], running["id"]):
                    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")):
                        answer = await other.request(method, f"/v1/responses/{id}{path}")
                        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "response_not_found")
                answer = await other.post("/v1/responses", json=stored(previous_response_id=response["id"]))
                assert answer.json()["error"]["code"] == "previous_response_not_found"
                reference = {"type": "item_reference", "id": response["output"][0]["id"]}
                answer = await other.post("/v1/responses", json=stored([reference]))
                assert answer.json()["error"]["code"] == "item_not_found"
        assert (await get(client, response["id"]))["output"] == response["output"]
        assert (await get(client, running["id"]))["status"] in ("queued", "in_progress")
        assert (await client.post(f"/v1/responses/{running['id']}/cancel")).status_code == 200


async def test_the_oldest_of_a_key_go_first(kept: Kept) -> None:
    async with kept.client(BOB) as bob, kept.client() as ada:
        adas = await ask(ada, stored(max_output_tokens=1))
        made = [await ask(bob, stored(max_output_tokens=1)) for _ in range(MOST_ENTRIES + 2)]
        found = [(await bob.get(f"/v1/responses/{each['id']}")).status_code for each in made]
        assert found == [404, 404, *[200] * MOST_ENTRIES]
        assert await get(ada, adas["id"])


async def test_a_restart_leaves_what_is_stored(kept: Kept) -> None:
    async with kept.client() as client:
        first = await ask(client, stored())
        running = await ask(client, stored(background=True, ignore_eos=True, max_output_tokens=30_000))
    # What runs at the end of a drain fails, and that is stored.
    await asyncio.to_thread(kept.restart)
    async with kept.client() as client:
        assert (await get(client, first["id"]))["output"] == first["output"]
        lost = await get(client, running["id"])
        assert (lost["status"], lost["error"]["code"]) == ("failed", "server_error")
        assert "Rosa" in said(await ask(client, stored("What is my name?", previous_response_id=first["id"])))


@contextlib.contextmanager
def locked(kept: Kept) -> Iterator[None]:
    """Somebody else writes the database and does not end."""
    with contextlib.closing(sqlite3.connect(kept.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextlib.contextmanager
def full(kept: Kept) -> Iterator[None]:
    """None of the daemon's files may grow beyond some size, which is what a full disk is to a large record."""
    pid = kept.daemon.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (LARGEST_FILE, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def noise() -> dict[str, Any]:
    """A picture that nothing makes small."""
    out = io.BytesIO()
    Image.frombytes("RGB", (512, 512), random.Random(0).randbytes(512 * 512 * 3)).save(out, "PNG")
    encoded = base64.b64encode(out.getvalue()).decode()
    return {"type": "input_image", "image_url": f"data:image/png;base64,{encoded}"}


FAULTS = {"locked": locked, "full": full}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_store_that_fails_fails_the_request_and_nothing_else(kept: Kept, fault: str) -> None:
    async with kept.client() as client:
        with FAULTS[fault](kept):
            for fields in ({}, {"stream": True}, {"background": True}):
                began = time.monotonic()
                answer = await client.post("/v1/responses", json=stored([user("Hello!", noise())], **fields))
                assert time.monotonic() - began < BUSY_SECONDS + 5
                assert answer.status_code == 503, answer.text
                error = answer.json()["error"]
                assert (error["code"], error["type"]) == ("store_unavailable", "server_error")
                assert "Stored responses are unavailable" in error["message"]
                assert str(kept.file) not in error["message"]
                assert int(answer.headers["retry-after"]) > 0
                print(f"{fault}, {fields}: {error['message']}")
            assert "Rosa" in said(await ask(client, body("My name is Rosa. Say hello.")))
            assert await chat_client.ask(client, chat_client.body("Hello!", max_tokens=1))
            assert (await client.get("/health/ready")).status_code == 200
        assert await chat_client.metric(client, "qwend_requests_in_flight") == 0
        assert await get(client, (await ask(client, stored()))["id"])


async def test_a_store_that_fails_in_the_middle_ends_the_stream(kept: Kept) -> None:
    async with kept.client() as client:
        request = stored(stream=True, ignore_eos=True, max_output_tokens=400)
        async with client.stream("POST", "/v1/responses", json=request) as response:
            chunks = response.aiter_raw()
            seen = await anext(chunks)
            with locked(kept):
                async for chunk in chunks:
                    seen += chunk
    *made, last = events(seen)
    assert [event["sequence_number"] for event in (*made, last)] == list(range(len(made) + 1))
    assert last["type"] == "response.failed"
    assert "unavailable" in last["response"]["error"]["message"]


def test_a_database_that_was_asked_for_and_cannot_be_had_keeps_the_daemon_from_starting(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    environment = {"QWEND_RESPONSES_STORE__URL": f"sqlite:///{place}/responses.sqlite"}
    daemon = DaemonProcess(environment=environment)
    try:
        assert daemon.wait(60) == 2
        assert "responses_store.url" in daemon.log
    finally:
        daemon.stop()


def test_where_none_was_asked_for_memory_will_do(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    daemon = DaemonProcess(environment={"XDG_STATE_HOME": str(place)})
    try:
        deadline = time.monotonic() + 60
        while "stored in memory and lost at the end" not in daemon.log:
            assert daemon.process.poll() is None, daemon.log
            assert time.monotonic() < deadline, daemon.log
            time.sleep(0.1)
    finally:
        daemon.stop()
