"""Writes deploy/grafana/*.json, the dashboards; a test fails when they are out of date.

python scripts/dashboards.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

TARGET = Path(__file__).parents[1] / "deploy" / "grafana"

Panel = tuple[str, str, list[tuple[str, str]]]
"""Title, Grafana's unit, and queries with their legends."""


class Fault(NamedTuple):
    """A panel that is red while one fault is there, and none of the others; `legend` names whose it is."""

    title: str
    unit: str
    query: str
    red_from: float
    legend: str
    action: str


_KV = (
    'sum by (instance) (qwend_admission_used{resource="kv_tokens"})'
    ' / sum by (instance) (qwend_admission_limit{resource="kv_tokens"})'
)

FAULTS: dict[str, Fault] = {
    "engine_stalled": Fault(
        "Engine stalled: no step for",
        "s",
        "max by (instance) (qwend_engine_heartbeat_age_seconds"
        ' and on (job, instance) qwend_state{state="stalled"} == 1) or on () vector(0)',
        1,
        "{{instance}}",
        "It has work and makes no step. Look at the GPUs and the engine's processes; after health.end_stalled_seconds "
        "the daemon ends itself and is to be started anew.",
    ),
    "engine_dead": Fault(
        "Engine dead, or no answer",
        "short",
        'max by (instance) (1 - up{job="qwend"} or qwend_state{state="dead"})',
        1,
        "{{instance}}",
        "The last line of the daemon's log says why. It ends with exit code 1 and is to be started anew.",
    ),
    "tenant_floods": Fault(
        "Refused of one tenant",
        "reqps",
        "topk(1, qwend:flood_refusals:rate2m) or on () vector(0)",
        0.5,
        "{{tenant}}",
        "It sends more than its share; the others are served by theirs. Raise its quota or tell it.",
    ),
    "media_slow": Fault(
        "Media from addresses: nine tenths within",
        "s",
        'histogram_quantile(0.9, sum by (le) (rate(qwend_media_seconds_bucket{source="url"}[5m]))) >= 0'
        " or on () vector(0)",
        2,
        "",
        'A host that requests name is slow; the log\'s lines "media come slowly from addresses" name it.',
    ),
    "kv_cache_full": Fault(
        "KV cache that requests wait for",
        "percentunit",
        f"{_KV} and on (instance) qwend:kv_wanted_ratio:avg2m > 0.4"
        " or max by (instance) (qwend_engine_kv_used_ratio > 0.9) or on () vector(0)",
        0.01,
        "{{instance}}",
        'Long contexts fill it; the log\'s lines "the KV cache is full" and the status page say whose. More replicas, '
        "or a lower context length.",
    ),
}
"""The first row of the overview, by the fault's name in tests/telemetry/recorded."""


def _quantiles(metric: str, by: str = "") -> list[tuple[str, str]]:
    extra = f", {by}" if by else ""
    legend = f" {{{{{by}}}}}" if by else ""
    return [
        (f"histogram_quantile({part}, sum by (le{extra}) (rate({metric}_bucket[5m])))", f"p{round(part * 100)}{legend}")
        for part in (0.5, 0.95)
    ]


DASHBOARDS: dict[str, tuple[str, list[Panel]]] = {
    "overview": (
        "qwend: overview",
        [
            ("What the daemon is doing", "short", [("qwend_state", "{{state}}")]),
            ("Requests by result", "reqps", [("sum by (result) (rate(qwend_requests_total[5m]))", "{{result}}")]),
            (
                "In flight and waiting",
                "short",
                [("qwend_requests_in_flight", "in flight"), ("sum(qwend_admission_waiting)", "waiting")],
            ),
            ("Time to first token", "s", _quantiles("qwend_time_to_first_token_seconds")),
            ("Time per output token", "s", _quantiles("qwend_time_per_output_token_seconds")),
            ("Time between tokens", "s", _quantiles("qwend_inter_token_latency_seconds")),
            ("Whole request", "s", _quantiles("qwend_request_seconds")),
            (
                "Mean time in each stage",
                "s",
                [
                    (
                        "sum by (stage) (rate(qwend_request_stage_seconds_sum[5m]))"
                        " / sum by (stage) (rate(qwend_request_stage_seconds_count[5m]))",
                        "{{stage}}",
                    )
                ],
            ),
            ("Tokens", "short", [("sum by (kind) (rate(qwend_tokens_total[5m]))", "{{kind}}")]),
            (
                "Requests by dialect",
                "reqps",
                [("sum by (dialect) (rate(qwend_requests_received_total[5m]))", "{{dialect}}")],
            ),
            ("Engine heartbeat age", "s", [("qwend_engine_heartbeat_age_seconds", "age")]),
        ],
    ),
    "admission": (
        "qwend: admission and tenants",
        [
            ("Waiting by class", "short", [("qwend_admission_waiting", "{{class}}")]),
            ("Wait for the engine", "s", _quantiles("qwend_admission_wait_seconds", "class")),
            (
                "Refusals by outcome",
                "reqps",
                [('sum by (outcome) (rate(qwend_requests_total{result="refused"}[5m]))', "{{outcome}}")],
            ),
            (
                "Refusals by tenant",
                "reqps",
                [('sum by (tenant) (rate(qwend_requests_total{result="refused"}[5m]))', "{{tenant}}")],
            ),
            ("Requests by tenant", "reqps", [("sum by (tenant) (rate(qwend_requests_total[5m]))", "{{tenant}}")]),
            ("Tokens by tenant", "short", [("sum by (tenant) (rate(qwend_tokens_total[5m]))", "{{tenant}}")]),
            (
                "Room that is taken",
                "percentunit",
                [
                    (
                        "sum by (resource) (qwend_admission_used) / sum by (resource) (qwend_admission_limit)",
                        "{{resource}}",
                    )
                ],
            ),
            (
                "Tickets by outcome",
                "reqps",
                [("sum by (outcome) (rate(qwend_admission_outcomes_total[5m]))", "{{outcome}}")],
            ),
            (
                "Forecast error and bias",
                "short",
                [("qwend_admission_forecast_error_ratio", "error"), ("qwend_admission_forecast_bias_ratio", "bias")],
            ),
            ("Batch requests stopped for others", "short", [("rate(qwend_admission_stops_total[5m])", "stops")]),
            (
                "Refused keys and admin actions",
                "short",
                [("sum by (event) (rate(qwend_audit_events_total[5m]))", "{{event}}")],
            ),
        ],
    ),
    "engine": (
        "qwend: engine and KV cache",
        [
            ("Heartbeat age", "s", [("qwend_engine_heartbeat_age_seconds", "age")]),
            (
                "KV cache used",
                "percentunit",
                [("qwend_engine_kv_used_ratio", "ours"), ("vllm:kv_cache_usage_perc", "vLLM's")],
            ),
            (
                "Sequences",
                "short",
                [("vllm:num_requests_running", "running"), ("vllm:num_requests_waiting", "waiting")],
            ),
            ("Tokens computed", "short", [("sum by (kind) (rate(qwend_engine_step_tokens_total[5m]))", "{{kind}}")]),
            ("Steps", "short", [("rate(qwend_engine_steps_total[5m])", "steps / s")]),
            ("Part of the time in steps", "percentunit", [("rate(qwend_engine_busy_seconds_total[5m])", "busy")]),
            (
                "Prefix cache hits",
                "percentunit",
                [("rate(vllm:prefix_cache_hits_total[5m]) / rate(vllm:prefix_cache_queries_total[5m])", "hits")],
            ),
            ("Preemptions", "short", [("rate(qwend_engine_preemptions_total[5m])", "preemptions / s")]),
            ("Time between tokens", "s", _quantiles("vllm:inter_token_latency_seconds")),
        ],
    ),
    "cost": (
        "qwend: cost and reasoning efficiency",
        [
            ("Dollars per million tokens", "currencyUSD", [("qwend_cost_dollars_per_million_tokens", "{{kind}}")]),
            (
                "All in, idle time too: dollars per million tokens",
                "currencyUSD",
                [
                    (
                        "1e6 * sum(rate(qwend_cost_spent_dollars_total[15m]))"
                        " / sum(rate(qwend_engine_step_tokens_total[15m]))",
                        "any token",
                    )
                ],
            ),
            (
                "Dollars an hour by what they are spent on",
                "currencyUSD",
                [("3600 * sum by (kind) (rate(qwend_cost_spent_dollars_total[5m]))", "{{kind}}")],
            ),
            (
                "Dollars an hour by tenant",
                "currencyUSD",
                [("3600 * sum by (tenant) (rate(qwend_cost_dollars_total[5m]))", "{{tenant}}")],
            ),
            ("Price of the hardware", "currencyUSD", [("qwend_cost_dollars_per_hour", "an hour")]),
            (
                "Thinking tokens for each answer token",
                "short",
                [
                    (
                        'sum by (tenant, effort) (rate(qwend_tokens_total{kind="reasoning"}[15m]))'
                        ' / sum by (tenant, effort) (rate(qwend_tokens_total{kind="answer"}[15m]))',
                        "{{tenant}} {{effort}}",
                    )
                ],
            ),
            (
                "Part of thinking that its budget ended",
                "percentunit",
                [
                    (
                        "sum by (tenant, effort) (rate(qwend_thinking_budget_hits_total[15m]))"
                        " / sum by (tenant, effort) (rate(qwend_thinking_requests_total[15m]))",
                        "{{tenant}} {{effort}}",
                    )
                ],
            ),
            (
                "Part of the prompts in the cache",
                "percentunit",
                [
                    (
                        'sum(rate(qwend_tokens_total{kind="cached"}[15m]))'
                        ' / sum(rate(qwend_tokens_total{kind="prompt"}[15m]))',
                        "cached",
                    )
                ],
            ),
        ],
    ),
    "frontend": (
        "qwend: front end",
        [
            ("CPU", "short", [('rate(process_cpu_seconds_total{job="qwend"}[5m])', "cores")]),
            ("Event loop lag", "s", _quantiles("qwend_event_loop_lag_seconds")),
            ("Frames written", "short", [("rate(qwend_stream_frames_total[5m])", "frames / s")]),
            (
                "CPU for each token",
                "s",
                [
                    (
                        'sum(rate(process_cpu_seconds_total{job="qwend"}[5m]))'
                        ' / sum(rate(qwend_engine_step_tokens_total{kind="decode"}[5m]))',
                        "CPU / token",
                    )
                ],
            ),
            ("Memory", "bytes", [('process_resident_memory_bytes{job="qwend"}', "resident")]),
            (
                "Media",
                "short",
                [
                    (
                        "sum by (kind, source, outcome) (rate(qwend_media_items_total[5m]))",
                        "{{kind}} {{source}} {{outcome}}",
                    )
                ],
            ),
            ("Media bytes", "Bps", [("sum by (kind) (rate(qwend_media_bytes_total[5m]))", "{{kind}}")]),
            ("Time to pixels", "s", _quantiles("qwend_media_seconds", "source")),
            ("Streams cut off", "short", [("rate(qwend_streams_cut_off_total[5m])", "cut off / s")]),
        ],
    ),
}


_FAULT_HEIGHT = 5
_FAULT_WIDTHS = (5, 4, 5, 5, 5)


def _fault(number: int, fault: Fault, source: dict[str, str]) -> dict[str, Any]:
    """A panel that shows one figure, all of it red from the fault's bound on."""
    steps = [{"color": "green", "value": None}, {"color": "red", "value": fault.red_from}]
    target = {"refId": "A", "expr": fault.query, "legendFormat": fault.legend, "instant": True, "datasource": source}
    return {
        "id": number + 1,
        "type": "stat",
        "title": fault.title,
        "description": fault.action,
        "datasource": source,
        "gridPos": {"h": _FAULT_HEIGHT, "w": _FAULT_WIDTHS[number], "x": sum(_FAULT_WIDTHS[:number]), "y": 0},
        "fieldConfig": {
            "defaults": {"unit": fault.unit, "decimals": 1, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {
            "colorMode": "background",
            "graphMode": "none",
            "textMode": "value_and_name",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
        "targets": [target],
    }


def _alerts(source: dict[str, str]) -> dict[str, Any]:
    """Marks on every panel's time axis while an alert of ours fires."""
    return {
        "name": "alerts",
        "enable": True,
        "datasource": source,
        "expr": 'ALERTS{alertname=~"Qwend.*", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{instance}} {{tenant}}",
        "iconColor": "red",
    }


def render(name: str) -> str:
    """A dashboard as Grafana imports it: two panels a row, one data source to choose."""
    title, panels = DASHBOARDS[name]
    source = {"type": "prometheus", "uid": "${source}"}
    first = (
        [_fault(number, fault, source) for number, fault in enumerate(FAULTS.values())] if name == "overview" else []
    )
    below = _FAULT_HEIGHT if first else 0
    made: list[dict[str, Any]] = [
        {
            "id": len(first) + number + 1,
            "type": "timeseries",
            "title": heading,
            "datasource": source,
            "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": below + 8 * (number // 2)},
            "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
            "targets": [
                {"refId": chr(ord("A") + place), "expr": query, "legendFormat": legend, "datasource": source}
                for place, (query, legend) in enumerate(queries)
            ],
        }
        for number, (heading, unit, queries) in enumerate(panels)
    ]
    dashboard = {
        "uid": f"qwend-{name}",
        "title": title,
        "tags": ["qwend"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus"}]},
        "annotations": {"list": [_alerts(source)]},
        "panels": [*first, *made],
    }
    return json.dumps(dashboard, indent=1) + "\n"


if __name__ == "__main__":
    TARGET.mkdir(parents=True, exist_ok=True)
    for each in DASHBOARDS:
        (TARGET / f"{each}.json").write_text(render(each), encoding="utf-8")
