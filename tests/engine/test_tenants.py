"""Keys, quotas, their reload and the admin port, over HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.chat_client import Streamed, ask, body, long_body, metric, stream
from tests.daemon_process import MODEL, DaemonProcess

pytestmark = pytest.mark.engine

NAMES = ("ada", "bob", "carol", "dora", "gina", "hank", "ivan")
ADA, BOB, CAROL, DORA, GINA, HANK, IVAN = (f"sk-{name}-0123456789abcdef" for name in NAMES)
FIRST = f"""
tenants:
  - {{name: ada, keys: [{ADA}]}}
  - {{name: bob, keys: [{BOB}], quotas: {{requests_per_minute: 2, burst: 60}}}}
  - {{name: carol, keys: [{{key: {CAROL}, name: main}}], quotas: {{tokens_per_minute: 1000, burst: 60}}}}
  - {{name: dora, keys: [{DORA}], quotas: {{requests_per_minute: 20, burst: 1}}}}
  - {{name: gina, keys: [{GINA}], private_cache: true}}
  - {{name: hank, keys: [{HANK}], private_cache: true}}
  - {{name: ivan, keys: [{IVAN}]}}
"""


class Tenants:
    """A daemon with a tenants file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text(FIRST)
        self.daemon = DaemonProcess("--tenants", str(path))

    def client(self, key: str | None, **headers: str) -> httpx.AsyncClient:
        given = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(base_url=self.daemon.url, timeout=60, headers={**given, **headers})

    def sdk(self, key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.daemon.url}/v1", api_key=key, max_retries=0)

    async def reload(self, text: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.daemon.admin_url) as admin:
            # No sooner, or the daemon, which looks at the file every second, may have seen it by itself.
            self.path.write_text(text)
            return await admin.post("/admin/reload")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    tenants = Tenants(tmp_path_factory.mktemp("tenants") / "tenants.yaml")
    try:
        tenants.daemon.wait_ready()
        yield tenants
    finally:
        tenants.daemon.stop()


@pytest.fixture
async def tenants(running: Tenants) -> Tenants:
    """The daemon with its first file."""
    assert (await running.reload(FIRST)).status_code == 200
    return running


async def test_without_a_known_key_there_is_no_answer(tenants: Tenants) -> None:
    for key in (None, "sk-wrong-0123456789abcdef"):
        async with tenants.client(key) as client:
            answer = await client.post("/v1/chat/completions", json=body())
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
            assert answer.headers["www-authenticate"] == "Bearer"
            assert (await client.get("/health")).status_code == 200
    with pytest.raises(openai.AuthenticationError) as refused:
        tenants.sdk("sk-wrong-0123456789abcdef").chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hello!"}]
        )
    assert "sk-wrong" not in str(refused.value)


@pytest.mark.parametrize("header", ["x-api-key", "api-key"])
async def test_keys_in_other_clients_headers(tenants: Tenants, header: str) -> None:
    async with tenants.client(None, **{header: ADA}) as client:
        await ask(client, body(max_tokens=1))


async def test_over_the_limit_is_429_with_the_time_to_wait(tenants: Tenants) -> None:
    async with tenants.client(BOB) as client:
        first = await client.post("/v1/chat/completions", json=body(max_tokens=1))
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        second = await stream(client, body(max_tokens=1))
        assert second.done
        refused = await client.post("/v1/chat/completions", json=body(max_tokens=1))
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert (error["type"], error["code"], error["param"]) == ("requests", "rate_limit_exceeded", None)
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert 1000 <= int(refused.headers["retry-after-ms"]) <= 60_000
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert refused.headers["x-ratelimit-reset-requests"] != "0s"
        assert await metric(client, "qwend_quota_refusals_total") >= 1
    with pytest.raises(openai.RateLimitError) as told:
        tenants.sdk(BOB).chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello!"}])
    assert told.value.code == "rate_limit_exceeded"
    async with tenants.client(ADA) as client:
        await ask(client, body(max_tokens=1))  # nobody else is kept out


async def test_anthropics_client_waits_as_long_as_it_is_told(tenants: Tenants) -> None:
    """A request every 3 s is dora's limit."""
    request: dict[str, Any] = {"model": MODEL, "max_tokens": 1, "messages": [{"role": "user", "content": "Hello!"}]}
    with (
        anthropic.Anthropic(base_url=tenants.daemon.url, api_key=DORA, max_retries=0) as hasty,
        anthropic.Anthropic(base_url=tenants.daemon.url, auth_token=DORA, max_retries=2) as patient,
    ):
        hasty.messages.create(**request)
        with pytest.raises(anthropic.RateLimitError) as refused:
            hasty.messages.create(**request)
        assert (refused.value.type, refused.value.error_code) == ("rate_limit_error", "rate_limit_exceeded")
        assert refused.value.request_id == refused.value.body["request_id"]
        wait = int(refused.value.response.headers["retry-after-ms"]) / 1000
        assert wait >= 1
        began = time.monotonic()
        answered = patient.messages.with_raw_response.create(**request)
        # By itself it would wait for half a second at most before the first retry.
        assert time.monotonic() - began > wait - 0.5
        assert answered.retries_taken == 1
        assert answered.parse().usage.output_tokens == 1
    with (
        pytest.raises(anthropic.AuthenticationError),
        anthropic.Anthropic(base_url=tenants.daemon.url, api_key="sk-wrong-0123456789abcdef", max_retries=0) as unknown,
    ):
        unknown.messages.create(**request)


async def tokens_left(client: httpx.AsyncClient, wanted: int) -> int:
    """What is left of a limit of 1000 tokens, once it is `wanted`: what is over is given back after the answer."""
    deadline = time.monotonic() + 10
    while True:
        headers = (await client.get("/v1/models")).headers
        assert headers["x-ratelimit-limit-tokens"] == "1000"
        if (left := int(headers["x-ratelimit-remaining-tokens"])) == wanted:
            return left
        assert time.monotonic() < deadline, f"{left} are left and not {wanted}"
        await asyncio.sleep(0.05)


async def test_tokens_are_reserved_and_what_is_not_used_is_given_back(tenants: Tenants) -> None:
    async with tenants.client(CAROL) as client:
        too_large = await client.post("/v1/chat/completions", json=body(max_tokens=1001))
        assert (too_large.status_code, too_large.json()["error"]["code"]) == (429, "tokens_exceeded")
        assert too_large.headers["x-should-retry"] == "false"
        used = 0
        for _ in range(3):  # each reserves more than half of the limit
            answer = await ask(client, body(max_tokens=600, enable_thinking=False))
            used += answer["usage"]["total_tokens"]
            left = await tokens_left(client, 1000 - used)
        bad = await client.post("/v1/chat/completions", json=body(max_tokens=600, temperature=9))
        assert bad.status_code == 400
        assert int(bad.headers["x-ratelimit-remaining-tokens"]) == left
    async with httpx.AsyncClient(base_url=tenants.daemon.admin_url) as admin:
        listed = await admin.get("/admin/tenants")
    assert not any(key in listed.text for key in (ADA, BOB, CAROL))
    carol = next(each for each in listed.json()["tenants"] if each["name"] == "carol")
    assert carol["quotas"]["tokens_per_minute"] == 1000
    assert [each["used"] for each in carol["used"] if each["unit"] == "tokens"] == [used]


async def test_a_reload_under_load_changes_limits_and_drops_nothing(tenants: Tenants) -> None:
    async with tenants.client(ADA) as client:
        seen = Streamed()
        under_way = asyncio.create_task(stream(client, long_body(1500), seen))
        while len(seen.chunks) < 4:
            await asyncio.sleep(0.02)
        without_ada = FIRST.replace(f"  - {{name: ada, keys: [{ADA}]}}\n", "").replace("minute: 2,", "minute: 5,")
        reloaded = (await tenants.reload(without_ada)).json()
        if reloaded["changed"]:
            assert reloaded == {
                "changed": True,
                "added_tenants": [],
                "removed_tenants": ["ada"],
                "changed_tenants": ["bob"],
            }
        # Where it saw the file by itself in between, its log alone says what was in it.
        (line,) = [each for each in tenants.daemon.log.splitlines() if "tenants reloaded" in each][-1:]
        assert "added=() changed=('bob',) removed=('ada',)" in line
        assert not under_way.done(), "the stream was over before the reload"
        assert (await client.get("/v1/models")).status_code == 401
        async with tenants.client(BOB) as bob:
            assert (await bob.get("/v1/models")).headers["x-ratelimit-limit-requests"] == "5"
        await under_way
    assert (seen.done, seen.error, seen.finish_reason) == (True, None, "length")


async def test_a_bad_file_keeps_the_old_one_and_says_so(tenants: Tenants) -> None:
    reloaded = await tenants.reload(FIRST.replace("quotas", "qoutas"))
    error = reloaded.json()["error"]
    assert (reloaded.status_code, error["code"]) == (400, "reload_failed")
    assert "did you mean `quotas`?" in error["message"]
    assert BOB not in reloaded.text
    assert "tenants not reloaded" in tenants.daemon.log
    assert BOB not in tenants.daemon.log
    async with tenants.client(BOB) as bob:
        assert (await bob.get("/v1/models")).headers["x-ratelimit-limit-requests"] == "2"


async def cached(tenants: Tenants, key: str, path: str, text: str, **fields: Any) -> int:
    """Tokens of the prompt that the engine says it had computed before."""
    said: dict[str, Any] = (
        {"prompt": text} if path == "/v1/completions" else {"messages": [{"role": "user", "content": text}]}
    )
    async with tenants.client(key) as client:
        answer = await client.post(path, json={"model": MODEL, "max_tokens": 1, **said, **fields})
    usage = answer.json()["usage"]
    if path == "/v1/messages":
        return int(usage["cache_read_input_tokens"])
    return int((usage["prompt_tokens_details"] or {"cached_tokens": 0})["cached_tokens"])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/messages"])
async def test_a_tenant_kept_apart_finds_its_own_prompts_in_the_cache_and_nobody_elses(
    tenants: Tenants, path: str
) -> None:
    async def each(*keys: str, text: str, **fields: Any) -> list[bool]:
        return [await cached(tenants, key, path, f"{path} {text} " * 300, **fields) > 0 for key in keys]

    assert await each(GINA, GINA, HANK, ADA, text="gina's secret") == [False, True, False, False]
    assert await each(ADA, IVAN, GINA, text="what all may know") == [False, True, False]
    # Nor with a salt that is guessed: a name, or the one that its owner asks for.
    assert await each(GINA, GINA, HANK, ADA, text="salted", cache_salt="pepper") == [False, True, False, False]
    assert await each(ADA, text="gina's secret", cache_salt="gina") == [False]


@pytest.mark.parametrize("how", ["by itself", "SIGHUP"])
async def test_a_change_is_read(tenants: Tenants, how: str) -> None:
    limit = "7" if how == "SIGHUP" else "8"
    before = tenants.path.stat()
    tenants.path.write_text(FIRST.replace("minute: 2,", f"minute: {limit},"))
    if how == "SIGHUP":
        # As old and as long as it was: by itself the daemon would not look into it.
        os.utime(tenants.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.kill(tenants.daemon.process.pid, signal.SIGHUP)
    deadline = time.monotonic() + 10
    async with tenants.client(BOB) as bob:
        while (told := (await bob.get("/v1/models")).headers["x-ratelimit-limit-requests"]) != limit:
            assert time.monotonic() < deadline, told
            await asyncio.sleep(0.05)


async def test_the_admin_port_drains_and_stays_open_meanwhile(running: Tenants) -> None:
    """Last, since it ends the daemon."""
    assert (await running.reload(FIRST)).status_code == 200
    async with running.client(ADA) as client, httpx.AsyncClient(base_url=running.daemon.admin_url) as admin:
        assert (await client.post("/admin/drain")).status_code == 404, "not on the public port"
        seen = Streamed()
        under_way = asyncio.create_task(stream(client, long_body(600), seen))
        while len(seen.chunks) < 4:
            await asyncio.sleep(0.02)
        drained = await admin.post("/admin/drain")
        told = drained.json()
        assert (drained.status_code, told["status"], told["in_flight"]) == (202, "draining", 1)
        assert (await admin.get("/admin/tenants")).status_code == 200
        refused = await client.post("/v1/chat/completions", json=body())
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        await under_way
    assert (seen.done, seen.finish_reason) == (True, "length")
    assert await asyncio.to_thread(running.daemon.wait, 30) == 0
