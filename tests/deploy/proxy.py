"""HAProxy with the configuration of deploy/haproxy, in a process of its own on the loopback address."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port

CONFIG = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"


def haproxy() -> str:
    """The program's path."""
    found = shutil.which("haproxy")
    if found is None:
        why = "there is no haproxy; `make haproxy` installs it where it can, QWEND_TEST_WITHOUT_HAPROXY=1 skips this"
        if os.environ.get("QWEND_TEST_WITHOUT_HAPROXY") == "1":
            pytest.skip(why)
        pytest.fail(why)
    return found


class Proxy:
    """Before two daemons, by their ports; only this process is ever signalled."""

    def __init__(self, one: int, two: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="qwend-haproxy-")
        port, figures = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._figures = httpx.Client(base_url=f"http://127.0.0.1:{figures}", timeout=5)
        environment = {
            **os.environ,
            "QWEND_PROXY_BIND": f"127.0.0.1:{port}",
            "QWEND_PROXY_STATS_BIND": f"127.0.0.1:{figures}",
            "QWEND_PROXY_SOCKET": f"{self._folder.name}/socket",
            "QWEND_SERVER_ONE": f"127.0.0.1:{one}",
            "QWEND_SERVER_TWO": f"127.0.0.1:{two}",
        }
        self.process = subprocess.Popen([haproxy(), "-db", "-f", str(CONFIG)], env=environment)
        deadline = time.monotonic() + 10
        while True:
            try:
                self._figures.get("/")
                return
            except httpx.TransportError:
                assert self.process.poll() is None, "haproxy has ended"
                assert time.monotonic() < deadline, "haproxy did not open its port in 10 s"
                time.sleep(0.05)

    def servers(self) -> dict[str, dict[str, str]]:
        """HAProxy's own figures of each daemon, by its name in the configuration."""
        text = self._figures.get("/;csv").text.removeprefix("# ")
        return {
            row["svname"]: row
            for row in csv.DictReader(text.splitlines())
            if row["pxname"] == "qwend" and row["svname"] != "BACKEND"
        }

    def status(self, server: str) -> str:
        """UP, DOWN, or how far it is from either."""
        return self.servers()[server]["status"]

    def wait(self, server: str, status: str, seconds: float) -> float:
        """Waits until HAProxy says so of a daemon; returns after how many seconds it did."""
        began = time.monotonic()
        while self.status(server) != status:
            assert time.monotonic() - began < seconds, f"{server} is {self.status(server)} and not {status}"
            time.sleep(0.05)
        return time.monotonic() - began

    def total(self, field: str) -> int:
        """The sum of a figure over the daemons: `wretr` counts retries, `wredis` those that went to another daemon."""
        return sum(int(row[field] or 0) for row in self.servers().values())

    def close(self) -> None:
        self._figures.close()
        self.process.terminate()
        self.process.wait(10)
        self._folder.cleanup()
