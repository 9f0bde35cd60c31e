"""Every query of every panel, alert and recording rule against a real Prometheus that scrapes a daemon under load."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests.chat_client import WEATHER, ask, body, image_part, stream
from tests.daemon_process import MODEL
from tests.telemetry.observed import ADA, CAROL, Observed
from tests.telemetry.prometheus_server import PrometheusServer

pytestmark = pytest.mark.engine

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
NAME = re.compile(r"\b(?:qwend|vllm|gen_ai|process)[a-z_]*[_:][a-z_:0-9]+\b|\bup\b")
LOAD_SECONDS = 8.0


def panel_queries() -> list[str]:
    return [
        target["expr"]
        for path in sorted(GRAFANA.glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]


async def load(observed: Observed) -> None:
    """Some of everything: dialects, streams, tools, images, budgets, refusals, for some seconds."""
    image = [image_part((255, 0, 0)), {"type": "text", "text": "What color is this?"}]
    address = [{"type": "image_url", "image_url": {"url": "http://images.example/red.png"}}]
    until = asyncio.get_running_loop().time() + LOAD_SECONDS
    async with observed.client(ADA) as ada, observed.client(CAROL) as carol:
        while asyncio.get_running_loop().time() < until:
            await asyncio.gather(
                ask(ada, body("What is 17 + 25?", thinking_budget=4)),
                stream(ada, body("Count from 1 to 10.", max_tokens=40)),
                ask(ada, body("What is the weather in Lisbon?", tools=[WEATHER], tool_choice="required")),
                ask(ada, body(image, max_tokens=16)),
                ada.post("/v1/chat/completions", json=body(address)),
                ada.post("/v1/messages", json={"model": MODEL, "max_tokens": 16, "messages": body()["messages"]}),
                ada.post("/v1/completions", json={"model": MODEL, "prompt": "Hello", "max_tokens": 8}),
                ada.get("/v1/models", headers={"authorization": "Bearer sk-wrong-0123456789abcdef"}),
                *(carol.post("/v1/chat/completions", json=body(max_tokens=2)) for _ in range(3)),
            )


async def test_every_query_parses_and_returns_data(observed: Observed) -> None:
    prometheus = await asyncio.to_thread(PrometheusServer, f"127.0.0.1:{observed.daemon.port}")
    try:
        await load(observed)
        # Rules that read other rules are a scrape and an evaluation or two behind; recording rules go every 15 s.
        for _ in range(40):
            rules = prometheus.rules()
            recorded = [rule["name"] for rule in rules if rule["type"] == "recording"]
            if all(prometheus.query(name) for name in recorded):
                break
            await asyncio.sleep(0.5)
        assert {rule["health"] for rule in rules} == {"ok"}
        alerts = [rule["query"] for rule in rules if rule["type"] == "alerting"]
        # An alert that does not fire gives nothing: its metrics must be there.
        names = sorted({name for alert in alerts for name in NAME.findall(alert)})
        for alert in alerts:
            prometheus.query(alert)
        queries = [*panel_queries(), *recorded, *names]
        empty = [query for query in queries if not prometheus.query(query)]
        print(f"{len(queries) + len(alerts)} queries run, {len(empty)} without data")
        assert len(alerts) >= 7
        assert len(queries) > 60
        assert empty == []
    finally:
        prometheus.close()
