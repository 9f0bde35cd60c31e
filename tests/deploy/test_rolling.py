"""A rolling restart under load and a daemon's death, behind HAProxy with the configuration that is in deploy/: two real
daemons with the reference checkpoint."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.daemon_process import DaemonProcess
from tests.deploy.clients import Clients, Seen
from tests.deploy.proxy import Proxy
from tests.deploy.results import keep
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(900)]

# Two start at once.
START_SECONDS = 420
STREAMS = 300
# What docs/operations.md and haproxy.cfg tell an operator to set.
SETTINGS = {"QWEND_SERVER__LAME_DUCK_SECONDS": "5", "QWEND_SERVER__DRAIN_SECONDS": "60"}
# Two probes that fail, half a second to one second apart, with what a busy machine adds.
NOTICED_SECONDS = 3.0


class Site:
    """Two daemons, `one` and `two`, and the proxy."""

    def __init__(self) -> None:
        self._ports = {"one": free_port(), "two": free_port()}
        self.proxy = Proxy(**self._ports)
        self.daemons = {name: self._start(name) for name in self._ports}

    def _start(self, name: str) -> DaemonProcess:
        return DaemonProcess(port=self._ports[name], environment=SETTINGS)

    def wait_ready(self) -> Site:
        for name, daemon in self.daemons.items():
            daemon.wait_ready(START_SECONDS)
            self.proxy.wait(name, "UP", 10)
        return self

    def restart(self, name: str) -> dict[str, float | int]:
        """SIGTERM, its end, a new one on the same port, until the proxy sends to it."""
        old, began = self.daemons[name], time.monotonic()
        old.terminate()
        noticed = self.proxy.wait(name, "DOWN", 10)
        code = old.wait(120)
        ended = time.monotonic() - began
        old.stop()
        self.daemons[name] = self._start(name)
        self.daemons[name].wait_ready()
        self.proxy.wait(name, "UP", 10)
        return {
            "exit_code": code,
            "proxy_noticed_seconds": round(noticed, 2),
            "ended_seconds": round(ended, 1),
            "back_seconds": round(time.monotonic() - began, 1),
        }

    def close(self) -> None:
        self.proxy.close()
        for daemon in self.daemons.values():
            daemon.stop()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    running = Site()
    try:
        yield running.wait_ready()
    finally:
        running.close()


def told(lost: list[Seen]) -> list[str]:
    return [f"{each.served_by or 'nobody'}: {each.status} {each.failed or each.finish_reason}" for each in lost]


async def test_a_rolling_restart_under_load_loses_no_request(site: Site) -> None:
    retries, moved = site.proxy.total("wretr"), site.proxy.total("wredis")
    began = time.monotonic()
    async with Clients(site.proxy.url) as clients:
        await asyncio.sleep(2)
        restarts = {name: await asyncio.to_thread(site.restart, name) for name in ("one", "two")}
        over = time.monotonic()
        while sum(each.done for each in clients.seen) < STREAMS:
            assert time.monotonic() - over < 120, "too few streams"
            await asyncio.sleep(0.2)
    lost = [each for each in clients.seen if not each.whole]
    figures = {
        "streams": len(clients.seen),
        "lost": len(lost),
        "how": told(lost),
        "begun_while_a_daemon_was_away": sum(began + 2 < each.began < over for each in clients.seen),
        "served_by": dict(Counter(each.served_by for each in clients.seen)),
        "tokens": sum(each.completion_tokens or 0 for each in clients.seen),
        "slowest_seconds": round(max(each.ended - each.began for each in clients.seen), 1),
        "proxy_retries": site.proxy.total("wretr") - retries,
        "proxy_redispatches": site.proxy.total("wredis") - moved,
        "restarts": restarts,
    }
    keep("rolling-restart", figures)
    assert not lost, told(lost)
    assert len(clients.seen) >= STREAMS
    assert set(figures["served_by"]) == {"one", "two"}
    for each in restarts.values():
        assert each["exit_code"] == 0
        # Before the lame duck's end, or requests would have been refused and not only by luck none.
        assert each["proxy_noticed_seconds"] < float(SETTINGS["QWEND_SERVER__LAME_DUCK_SECONDS"])


async def test_a_daemon_that_is_killed_loses_its_running_streams_alone(site: Site) -> None:
    retries = site.proxy.total("wretr")
    async with Clients(site.proxy.url, most_tokens=400) as clients:
        while not {"one", "two"} <= {each.served_by for each in clients.seen if not each.ended}:
            await asyncio.sleep(0.02)
        victim = site.daemons["one"]
        killed = time.monotonic()
        victim.process.kill()
        noticed = await asyncio.to_thread(site.proxy.wait, "one", "DOWN", 10)
        after = len(clients.seen)
        while sum(each.whole for each in clients.seen[after:]) < 20:
            assert time.monotonic() - killed < 60, "the other daemon does not serve"
            await asyncio.sleep(0.1)
    lost = [each for each in clients.seen if not each.whole]
    had_begun = [
        each
        for each in clients.seen
        if each.served_by == "one" and each.head is not None and each.head < killed + 0.05 and each.ended > killed
    ]
    figures = {
        "streams": len(clients.seen),
        "running_on_it": len(had_begun),
        "lost": len(lost),
        "how": told(lost),
        "begun_between_kill_and_notice": sum(killed < each.began < killed + noticed for each in clients.seen),
        "longest_until_told_seconds": round(max(each.ended - killed for each in lost), 2),
        "proxy_noticed_seconds": round(noticed, 2),
        "proxy_retries": site.proxy.total("wretr") - retries,
    }
    keep("killed-daemon", figures)
    assert lost, "nothing ran on it: nothing was shown"
    for each in lost:
        assert each in had_begun, told([each])
        assert "RemoteProtocolError" in each.failed, "a stream that breaks must not look like one that ended"
        assert (each.done, each.finish_reason) == (False, None)
        assert each.ended - killed < 2
    assert noticed < NOTICED_SECONDS
    assert all(each.served_by == "two" for each in clients.seen[after:])
