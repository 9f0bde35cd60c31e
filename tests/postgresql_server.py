"""A real PostgreSQL in processes of its own, with a folder and a port of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

PASSWORD = "correct horse"


def _program(name: str) -> str | None:
    """Debian keeps PostgreSQL's programs off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


class PostgresqlServer:
    """`postgres` on a free port of the loopback address; only its own processes are ever signalled."""

    def __init__(self) -> None:
        initdb, postgres = _program("initdb"), _program("postgres")
        if initdb is None or postgres is None:
            why = (
                "there is no PostgreSQL; scripts/install_for_tests.sh installs it, "
                "QWEND_TEST_WITHOUT_POSTGRESQL=1 skips this"
            )
            if os.environ.get("QWEND_TEST_WITHOUT_POSTGRESQL") == "1":
                pytest.skip(why)
            pytest.fail(why)
        self._postgres = postgres
        self._folder = tempfile.TemporaryDirectory(prefix="qwend-postgresql-")
        self._home = Path(self._folder.name)
        # PostgreSQL refuses to run as root.
        self._as: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
        if self._as:
            shutil.chown(self._home, "postgres", "postgres")
        password = self._home / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self.port = free_port()
        self.url = f"postgresql+pg8000://qwend:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.port}/postgres"
        subprocess.run(
            [
                initdb,
                "-D",
                self._home / "data",
                "-U",
                "qwend",
                "-A",
                "scram-sha-256",
                "--pwfile",
                password,
                "--no-sync",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._home,
            **self._as,
        )
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                *(self._postgres, "-D", self._home / "data", "-p", str(self.port), "-c", "listen_addresses=127.0.0.1"),
                *("-c", f"unix_socket_directories={self._home}", "-c", "fsync=off"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=(self._home / "log").open("ab"),
            cwd=self._home,
            start_new_session=True,
            **self._as,
        )
        deadline = time.monotonic() + 20
        while b"ready to accept connections" not in (self._home / "log").read_bytes():
            assert time.monotonic() < deadline, "PostgreSQL was not ready in 20 s"
            time.sleep(0.05)
        (self._home / "log").write_bytes(b"")

    def pause(self, paused: bool) -> None:
        """Lets all its processes hang, or go on."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (self.process.pid, *map(int, children)):
            os.kill(pid, signal.SIGSTOP if paused else signal.SIGCONT)

    def stop(self) -> None:
        """Ends it at once, with its connections."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)

    def close(self) -> None:
        if self.process.poll() is None:
            self.stop()
        self._folder.cleanup()
