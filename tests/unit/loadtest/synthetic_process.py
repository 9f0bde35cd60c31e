"""The synthetic server in a process of its own, and its log as the truth about what it served."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class SyntheticProcess:
    def __init__(self, **options: float) -> None:
        # Taken away when this is collected: the log is read after the end.
        self._folder = tempfile.TemporaryDirectory(prefix="loadtest-")
        self._log = Path(self._folder.name) / "log.jsonl"
        given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadtest", "synthetic", "--port=0", f"--log={self._log}", *given],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = ""

    def __enter__(self) -> Self:
        self.url = self._process.stdout.readline().strip()
        assert self.url.startswith("http"), "it did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(20)
        self._process.stdout.close()

    def log(self) -> dict[str, dict[str, Any]]:
        """Ends the server; every request that it got, by its `x-request-id`."""
        self.stop()
        return {row["name"]: row for row in map(json.loads, self._log.read_text().splitlines())}
