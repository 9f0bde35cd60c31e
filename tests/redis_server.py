"""A real Redis in a process of its own, with a folder and a port of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time

import pytest

from tests.ports import free_port


class RedisServer:
    """`redis-server` on a free port of the loopback address; only this process is ever signalled."""

    def __init__(self) -> None:
        if shutil.which("redis-server") is None:
            why = (
                "there is no redis-server; `make redis` installs it where it can, QWEND_TEST_WITHOUT_REDIS=1 skips this"
            )
            if os.environ.get("QWEND_TEST_WITHOUT_REDIS") == "1":
                pytest.skip(why)
            pytest.fail(why)
        self._folder = tempfile.TemporaryDirectory(prefix="qwend-redis-")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            # Nothing is kept on disk, so that a new start is empty as after a crash.
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self._folder.name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("redis-server did not open its port in 10 s")

    def kill(self) -> None:
        """Ends the process as a crash would."""
        self.process.kill()
        self.process.wait(10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self._folder.cleanup()
