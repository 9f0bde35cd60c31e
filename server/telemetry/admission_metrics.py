"""Metrics of admission control."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

WAITING = Gauge("qwend_admission_waiting", "Requests that wait for room in the engine.", ["class"])
BACKLOG = Gauge(
    "qwend_admission_backlog_seconds",
    "Forecast time that the engine takes to get through all that waits; 0 where nothing does. What to scale by.",
)
WAIT_SECONDS = Histogram(
    "qwend_admission_wait_seconds",
    "Time from a request's arrival to its entering the engine, of those that entered.",
    ["class"],
    buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
OUTCOMES = Counter(
    "qwend_admission_outcomes",
    "Requests that were let in, rejected before waiting or evicted after, by how they ended.",
    ["class", "outcome"],
)
STOPS = Counter("qwend_admission_stops", "Times that a batch request gave its place in the engine to another.")
USED = Gauge("qwend_admission_used", "What the requests in the engine take of each thing that runs out.", ["resource"])
LIMIT = Gauge("qwend_admission_limit", "How much of each thing may be taken now.", ["resource"])
SHORT_OF = Gauge(
    "qwend_admission_short_of",
    "1 for what keeps requests waiting now: `sequences`, `kv_tokens` or `prefill_tokens`; all 0 where none wait.",
    ["resource"],
)
FORECAST_ERROR = Gauge(
    "qwend_admission_forecast_error_ratio",
    "Mean error of the forecast time to the first token, as a part of the longer of both; over 0.6 static limits hold.",
)
FORECAST_BIAS = Gauge(
    "qwend_admission_forecast_bias_ratio", "What forecast waits are multiplied by, learned from real waits."
)
