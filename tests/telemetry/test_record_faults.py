"""Plants each fault in a real daemon that a real Prometheus scrapes, and keeps the series: `make record-faults`.

Some five minutes each. Readiness, metric and log line must name the fault; so must, over the series, the alert.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import re
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.chat_client import body
from tests.telemetry.faults import CALM, CALM_RATE, FAULTS, Fault, Scene
from tests.telemetry.prometheus_server import RULES, PrometheusServer
from tests.telemetry.recorded_series import notation, on_grid, series
from tests.telemetry.recordings import METRIC, Recording
from tests.telemetry.replay import panels
from tests.telemetry.test_alert_rules import dashboards
from tests.telemetry.test_recorded_faults import check

pytestmark = [pytest.mark.engine, pytest.mark.slow]

STEP = 2
CALM_SECONDS = 30
INSTANCE = "qwend-0:8000"


class Readiness:
    """Each different answer of the probe, asked for all the time; figures in a reason make no difference."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.since = time.monotonic()
        self.seen: list[dict[str, Any]] = []

    async def watch(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=5) as client:
            last = None
            while True:
                after = round(time.monotonic() - self.since, 1)
                try:
                    answer = await client.get("/health/ready")
                    told = {"status": answer.status_code, "body": answer.json()}
                    kind = (
                        answer.status_code,
                        re.sub(r"[\d.]+", "", f"{told['body']['status']} {told['body']['reason']}"),
                    )
                except httpx.HTTPError:
                    told, kind = {"status": 0, "body": "no answer"}, (0, "")
                if kind != last:
                    self.seen.append({"after": after, **told})
                    last = kind
                await asyncio.sleep(0.1)


def metrics_read() -> list[str]:
    """The names of all metrics that alerts and the overview's first row are made of, those of recording rules too."""
    rules = [
        rule
        for path in RULES.glob("*.yaml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    read = [rule["expr"] for rule in rules if "alert" in rule]
    read += [panel.query for panel in dashboards().FAULTS.values()]
    read += [rule["expr"] for rule in rules if "record" in rule and any(rule["record"] in each for each in read)]
    return sorted({name for each in read for name in METRIC.findall(each)})


def lines(scene: Scene) -> list[dict[str, Any]]:
    return [json.loads(line) for line in scene.daemon.log.splitlines() if line.startswith("{")]


async def watch(fault: Fault, name: str) -> Recording:
    """The fault from some calm seconds before it on."""
    scene = Scene(fault.environment, fault.module)
    prometheus = None
    try:
        await asyncio.to_thread(scene.daemon.wait_ready)
        prometheus = await asyncio.to_thread(PrometheusServer, f"127.0.0.1:{scene.daemon.port}", STEP)
        async with AsyncExitStack() as stack:
            calm = await stack.enter_async_context(scene.client(CALM))
            scene.start(
                scene.ask_steadily(calm, CALM_RATE, lambda: body("Hello!", max_tokens=16, enable_thinking=False))
            )
            # Rates need something before: what is seen first counts from nothing.
            await asyncio.sleep(10)
            begin = time.time()
            await asyncio.sleep(CALM_SECONDS)
            readiness = Readiness(scene.daemon.url)
            scene.start(readiness.watch())
            await stack.enter_async_context(fault.plant(scene))
            readiness.since, planted = time.monotonic(), time.time()
            await asyncio.sleep(fault.seconds)
        return recording(name, fault, scene, prometheus, readiness, begin, planted)
    finally:
        if prometheus is not None:
            prometheus.close()
        await scene.stop()


def recording(
    name: str,
    fault: Fault,
    scene: Scene,
    prometheus: PrometheusServer,
    readiness: Readiness,
    begin: float,
    planted: float,
) -> Recording:
    count = int(time.time() - begin) // STEP
    end = begin + (count - 1) * STEP
    found = {}
    for metric in metrics_read():
        for each in prometheus.range(metric, begin, end, STEP):
            labels = {key: value for key, value in each["metric"].items() if key not in ("__name__", "instance")}
            found[series(metric, {**labels, "instance": INSTANCE})] = on_grid(each, begin, STEP, count)
    up = found[series("up", {"job": "qwend", "instance": INSTANCE})]
    dead = found[series("qwend_state", {"job": "qwend", "instance": INSTANCE, "state": "dead"})]
    gone = [number for number in range(count) if fault.then and (up[number] == 0 or dead[number] == 1)]
    fired: dict[str, int] = {}
    for each in prometheus.range('ALERTS{alertstate="firing"}', begin, end, STEP):
        alert, after = each["metric"]["alertname"], round(each["values"][0][0] - planted)
        fired[alert] = min(after, fired.get(alert, after))
    named = [line for line in lines(scene) if line["event"] == fault.event]
    assert named, f"no line of the log is {fault.event!r}: {scene.daemon.log[-3000:]}"
    return Recording(
        fault=name,
        step=STEP,
        planted=round((planted - begin) / STEP) * STEP,
        alone=((gone[0] if gone else count) - 1) * STEP,
        end=(count - 1) * STEP,
        readiness=readiness.seen,
        log=named[0],
        fired=fired,
        panels=panels(prometheus, begin, end),
        series={each: notation(values) for each, values in sorted(found.items())},
    )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", FAULTS)
async def test_a_planted_fault_is_told_from_the_others(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    told = await watch(fault, name)
    print(f"{name}: fired {told.fired}; log {told.log}; readiness {told.readiness}")
    date = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    # What was seen is kept beside if it is not what it should be.
    told.write(date, tmp_path / "seen.yaml")
    if keep := os.environ.get("QWEND_KEEP_RECORDINGS"):
        told.write(date, Path(keep) / f"{name}.yaml")
    check(told, tmp_path)
    told.write(date)
