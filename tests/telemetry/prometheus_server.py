"""A real Prometheus in a process of its own on the loopback address."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.ports import free_port

RULES = Path(__file__).parents[2] / "deploy" / "prometheus"


def needed(program: str) -> str:
    """The path of `prometheus` or `promtool`."""
    found = shutil.which(program)
    if found is None:
        why = f"there is no {program}; scripts/install_for_tests.sh installs it, QWEND_TEST_WITHOUT_PROMETHEUS=1 skips"
        if os.environ.get("QWEND_TEST_WITHOUT_PROMETHEUS") == "1":
            pytest.skip(why)
        pytest.fail(why)
    return found


class PrometheusServer:
    """Scrapes a daemon every `seconds`, with our rules; only this process is ever signalled."""

    def __init__(self, target: str, seconds: int = 1, *, honor_labels: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="qwend-prometheus-")
        config = Path(self._folder.name) / "prometheus.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": f"{seconds}s", "evaluation_interval": f"{seconds}s"},
                    "rule_files": [str(path) for path in RULES.glob("*.yaml")],
                    "scrape_configs": [
                        {
                            "job_name": "qwend",
                            "honor_labels": honor_labels,
                            "static_configs": [{"targets": [target]}],
                        }
                    ],
                }
            )
        )
        port = free_port()
        self._api = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=10)
        self.process = subprocess.Popen(
            [
                needed("prometheus"),
                f"--config.file={config}",
                f"--web.listen-address=127.0.0.1:{port}",
                f"--storage.tsdb.path={self._folder.name}/data",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                if self._api.get("/query", params={"query": "up"}).json()["data"]["result"]:
                    return
            except (httpx.TransportError, ValueError):
                pass  # it answers in words while it starts
            time.sleep(0.2)
        self.close()
        raise AssertionError("Prometheus has scraped nothing in 20 s")

    def query(self, expression: str) -> list[Any]:
        """What an expression gives now; AssertionError if it does not parse."""
        answer = self._api.get("/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        result: list[Any] = answer["data"]["result"]
        return result

    def range(self, expression: str, begin: float, end: float, step: float) -> list[Any]:
        """What it gave from `begin` to `end`, in seconds since 1970."""
        asked = {"query": expression, "start": str(begin), "end": str(end), "step": str(step)}
        answer = self._api.get("/query_range", params=asked).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        result: list[Any] = answer["data"]["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        """Every rule that is loaded, with its health."""
        return [rule for group in self._api.get("/rules").json()["data"]["groups"] for rule in group["rules"]]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self._api.close()
        self._folder.cleanup()
