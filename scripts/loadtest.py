"""`make loadtest`: the sweep and three scenarios against a daemon of its own with the reference checkpoint.

Writes results/*.json, *.csv and *.html. Ends with 1 where a scenario missed what it asks for, with 3 where the machine
was too busy to measure.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
START_SECONDS = 300.0
# Which tenants the scenarios have, and what the daemon is told of them.
OBJECTIVES = {"users": 0.5, "first": 2.0, "second": 2.0, "quiet-1": 1.0, "quiet-2": 1.0, "quiet-3": 1.0, "flood": 1.0}
SCENARIOS = ("steady", "overload-2x", "one-tenant-flood")
# Tokens of one user alone come every 5 to 8 ms on two cores; longer steps than this make room for fewer requests.
ITL_SECONDS = "0.03"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def daemon(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """A daemon that is ready: its base URL, the admin port's URL, and a file with its tenants' keys."""
    keys = {name: secrets.token_hex(24) for name in OBJECTIVES}
    tenants = [{"name": name, "keys": [keys[name]], "ttft_seconds": seconds} for name, seconds in OBJECTIVES.items()]
    tenants_file, keys_file = folder / "tenants.yaml", folder / "keys.json"
    # JSON is YAML.
    tenants_file.write_text(json.dumps({"tenants": tenants}))
    keys_file.write_text(json.dumps(keys))
    port, admin_port = free_port(), free_port()
    arguments = ["serve", "--port", str(port), "--admin-port", str(admin_port), "--tenants", str(tenants_file)]
    environment = {**os.environ, "QWEND_ADMISSION__ITL_SECONDS": ITL_SECONDS}
    log = folder / "daemon.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "server.cli", *arguments], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}/health/ready", log)
            yield f"http://127.0.0.1:{port}/v1", f"http://127.0.0.1:{admin_port}", keys_file
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    sys.exit(f"the daemon did not start:\n{log.read_text(errors='replace')[-4000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    parser.add_argument("--scenario", nargs="*", default=SCENARIOS, help="in place of the three")
    parser.add_argument("--sweep", type=Path, help="result of an earlier sweep, in place of a new one")
    options = parser.parse_args()
    # As Ctrl-C does, so that the daemon is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    worst = 0
    with tempfile.TemporaryDirectory(prefix="qwend-loadtest-") as folder, daemon(Path(folder)) as (url, admin, keys):

        def run(name: str, *more: str) -> int:
            print(f"== {name}", flush=True)
            command = [sys.executable, "-m", "loadtest", "run", name, "--base-url", url, "--admin-url", admin]
            command += ["--keys", str(keys), "--out", str(options.out), *more]
            return subprocess.run(command, cwd=ROOT, check=False).returncode

        # What an engine does for the first time takes longer.
        warm = ["--capacity", "6", "--duration", "8", "--out", folder]
        run("steady", *warm)
        sweep = options.sweep or options.out / "sweep.json"
        if options.sweep is None:
            worst = run("sweep")
        # Without a rate to count from there is nothing to scale the others by.
        for name in options.scenario if worst == 0 else ():
            worst = max(worst, run(name, "--capacity", str(sweep)))
    sys.exit(worst)


if __name__ == "__main__":
    main()
