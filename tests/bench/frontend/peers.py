"""What is measured side by side: qwend, vLLM's servers and the floor, each over its own engine of the same settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO

import httpx

from tests.bench.frontend.load_client import Load, Result
from tests.bench.frontend.processes import drive
from tests.ports import free_port

START_SECONDS = 300.0


class Peer:
    """A server in a process of its own; `process` is the one whose CPU is the front end's."""

    name = ""

    def __init__(self, profile: str) -> None:
        self.port = free_port()
        self.log = tempfile.NamedTemporaryFile(prefix=f"bench-{self.name}-", suffix=".log")  # noqa: SIM115
        self.running = subprocess.Popen(
            [sys.executable, "-m", *self.command(profile)],
            stdin=subprocess.PIPE,
            stdout=self.output(),
            stderr=self.log,
            env={**os.environ, **self.environment()},
            start_new_session=True,
        )

    def command(self, profile: str) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def output(self) -> IO[bytes] | int:
        return self.log

    @property
    def process(self) -> int:
        return self.running.pid

    def ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/{self.probe}").status_code == 200
        except httpx.TransportError:
            return False

    probe = "health"

    def __enter__(self) -> Peer:
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            if self.running.poll() is not None or time.monotonic() > deadline:
                tail = Path(self.log.name).read_text(errors="replace")[-3000:]
                self.stop()
                raise RuntimeError(f"{self.name} did not start:\n{tail}")
            time.sleep(0.3)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the process group that was started here, and nothing else."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.running.pid, number)
            except ProcessLookupError:
                break
            try:
                self.running.wait(30)
            except subprocess.TimeoutExpired:
                continue
        self.running.wait(10)
        self.log.close()

    def load(self, load: Load) -> Result:
        load.port = self.port
        return drive(load)


class Qwend(Peer):
    name = "qwend"
    probe = "health/ready"

    def command(self, profile: str) -> list[str]:
        ports = ["--port", str(self.port), "--admin-port", str(free_port())]
        return ["server.cli", "serve", "--profile", profile, *ports]


class QwendHolding(Qwend):
    """qwend told to hold tokens for longer, and sooner, than it does by default."""

    name = "qwend-holding"

    def environment(self) -> dict[str, str]:
        return {"QWEND_STREAMING__HOLD_SECONDS": "0.15", "QWEND_STREAMING__BEHIND": "0.1"}


class VllmPython(Peer):
    name = "vllm-python"

    def command(self, profile: str) -> list[str]:
        return ["tests.bench.frontend.vllm_server", str(self.port), profile]


class VllmRust(VllmPython):
    """The binary lies in the wheel of `vllm` for CUDA; its path is the environment's `VLLM_RUST_FRONTEND_PATH`."""

    name = "vllm-rust"

    def environment(self) -> dict[str, str]:
        return {"VLLM_USE_RUST_FRONTEND": "1"}

    @property
    def process(self) -> int:
        """The Rust process, a child of the command."""
        for thread in Path(f"/proc/{self.running.pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                if "vllm-rs" in Path(f"/proc/{child}/cmdline").read_text(errors="replace"):
                    return int(child)
        raise RuntimeError("the Rust front end has no process of its own")


class Floor(Peer):
    """`AsyncLLM` alone: the load runs in the process itself, so that its clients' cost is in the figure, as tasks."""

    name = "async-llm"

    def command(self, profile: str) -> list[str]:
        return ["tests.bench.frontend.floor", profile]

    def output(self) -> IO[bytes] | int:
        return subprocess.PIPE

    def ready(self) -> bool:
        return any(line == "ready" for line in self._lines())

    def load(self, load: Load) -> Result:
        assert self.running.stdin is not None
        self.running.stdin.write(json.dumps(asdict(load)).encode() + b"\n")
        self.running.stdin.flush()
        for line in self._lines():
            if line.startswith("{"):
                return Result(**json.loads(line))
        raise RuntimeError("the floor has ended")

    def _lines(self) -> list[str]:
        assert self.running.stdout is not None
        found = []
        while line := self.running.stdout.readline():
            found.append(line.decode(errors="replace").strip())
            if found[-1] == "ready" or found[-1].startswith("{"):
                break
        return found


def at_hand() -> list[type[Peer]]:
    """The peers that can be started here."""
    peers: list[type[Peer]] = [Qwend, QwendHolding, VllmPython, Floor]
    return [*peers, VllmRust] if os.environ.get("VLLM_RUST_FRONTEND_PATH") else peers
