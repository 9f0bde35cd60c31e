"""A daemon with all of its telemetry on: tenants, a price, JSON lines, traces to a collector of its own.

Its engine fails what asks for it.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import httpx

from tests.daemon_process import DaemonProcess
from tests.telemetry.trace_collector import TraceCollector

ADA, BOB, CAROL = (f"sk-{name}-0123456789abcdef" for name in ("ada", "bob", "carol"))
TENANTS = f"""
tenants:
  - {{name: ada, keys: [{{key: {ADA}, name: main}}], max_class: interactive, shows_cost: true}}
  - {{name: bob, keys: [{BOB}]}}
  - {{name: carol, keys: [{CAROL}], quotas: {{requests_per_minute: 5, burst: 60}}}}
"""
DOLLARS_PER_HOUR = 7.2


class Observed:
    def __init__(self, folder: Path, **environment: str) -> None:
        (folder / "tenants.yaml").write_text(TENANTS)
        self.collector = TraceCollector()
        self.daemon = DaemonProcess(
            *("--tenants", str(folder / "tenants.yaml"), "--log-format", "json"),
            module="tests.telemetry.failing_cli",
            environment={
                "QWEND_TELEMETRY__TRACES_ENDPOINT": self.collector.endpoint,
                # Only who brings a trace is traced.
                "QWEND_TELEMETRY__TRACES_RATIO": "0",
                "QWEND_TELEMETRY__TENANT_LABELS": "8",
                "OTEL_BSP_SCHEDULE_DELAY": "200",
                "QWEND_HARDWARE__USD_PER_GPU_HOUR": str(DOLLARS_PER_HOUR),
                "QWEND_HARDWARE__GPUS_PER_NODE": "1",
                **environment,
            },
        )

    @property
    def url(self) -> str:
        return self.daemon.url

    def client(self, key: str | None = ADA, **headers: str) -> httpx.AsyncClient:
        given = {"authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=200)
        return httpx.AsyncClient(base_url=self.url, timeout=120, headers={**given, **headers}, limits=limits)

    def metrics(self) -> list[tuple[str, dict[str, str], float]]:
        """Every sample of `/metrics`: name, labels, value."""
        found = []
        for line in httpx.get(f"{self.url}/metrics").text.splitlines():
            if match := re.fullmatch(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", line):
                labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
                found.append((match[1], labels, float(match[3])))
        return found

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels; 0 where there are none."""
        return sum(value for each, have, value in self.metrics() if each == name and labels.items() <= have.items())

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log's lines, of one event if it is given."""
        read = [json.loads(line) for line in self.daemon.log.splitlines() if line.startswith("{")]
        return [line for line in read if event is None or line["event"] == event]

    def line(self, request_id: str, seconds: float = 5.0) -> dict[str, Any]:
        """The one line of a request, once it is there."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = [line for line in self.lines("request") if line["request_id"] == request_id]
            if found:
                assert len(found) == 1, found
                return found[0]
            time.sleep(0.05)
        raise AssertionError(f"there is no line of {request_id}")

    def stop(self) -> None:
        self.daemon.stop()
        self.collector.close()
