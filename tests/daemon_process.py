"""A real daemon in a process of its own, for tests that talk to it over HTTP."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.ports import free_port

MODEL = "qwen3.5-reference"
START_SECONDS = 240.0


class DaemonProcess:
    """`qwend serve` on a free port of the loopback address. Only this process and its children are ever signalled."""

    def __init__(
        self,
        *arguments: str,
        port: int | None = None,
        admin_port: int | None = None,
        environment: dict[str, str] | None = None,
        module: str = "server.cli",
        scheme: str = "http",
    ) -> None:
        self.port = port if port is not None else free_port()
        self.admin_port = admin_port if admin_port is not None else free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"
        self._log = tempfile.NamedTemporaryFile(prefix="qwend-test-", suffix=".log")  # noqa: SIM115 - lives as we do
        # What it stores goes where its default says, but not to whoever runs the tests.
        self._state = tempfile.TemporaryDirectory(prefix="qwend-test-state-")
        ports = ["--port", str(self.port), "--admin-port", str(self.admin_port)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "serve", *ports, *arguments],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "XDG_STATE_HOME": self._state.name, **(environment or {})},
        )

    @property
    def log(self) -> str:
        return Path(self._log.name).read_text(errors="replace")

    def wait_ready(self, seconds: float = START_SECONDS) -> DaemonProcess:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.log}")
            try:
                if httpx.get(f"{self.url}/health/ready", verify=False).status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise AssertionError(f"the daemon was not ready in {seconds} s:\n{self.log}")

    def children(self) -> list[int]:
        """Process ids of the daemon's direct children that run the engine, not its tracker nor decoders."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int(re.search(r"^PPid:\s+(\d+)", (folder / "status").read_text(), re.MULTILINE).group(1))
                command = (folder / "cmdline").read_text()
            except (OSError, AttributeError):
                continue
            if parent == self.process.pid and not re.search("resource_tracker|_worker.py", command):
                found.append(int(folder.name))
        return found

    @property
    def last_line(self) -> str:
        """The last line of the log."""
        return self.log.strip().splitlines()[-1]

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        return self.process.wait(seconds)

    def stop_hard(self) -> None:
        """Ends the daemon and its engine, stopped ones too."""
        for child in self.children():
            os.kill(child, signal.SIGKILL)
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """Ends the daemon however it stands."""
        if self.process.poll() is None:
            self.terminate()
            try:
                self.wait(30)
            except subprocess.TimeoutExpired:
                for child in self.children():
                    os.kill(child, signal.SIGKILL)
                self.process.kill()
                self.process.wait(10)
        self._log.close()
        self._state.cleanup()
