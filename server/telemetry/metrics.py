"""The daemon's own metrics, beside vLLM's `vllm:*` in the same registry."""

from __future__ import annotations

from prometheus_client import REGISTRY, Counter, Gauge, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

PROMPTS = Counter(
    "qwend_prompts",
    "Prompts that were let in or turned away at the door, by how they ended; one completions request may have several.",
    ["outcome"],
)
IGNORED_PARAMETERS = Counter("qwend_ignored_parameters", "Request fields that are not known and had no effect.")
IN_FLIGHT = Gauge(
    "qwend_requests_in_flight", "Requests that hold a permit: being prepared or generated; each prompt has one."
)
CUT_OFF = Counter("qwend_streams_cut_off", "Streams ended since their client had stopped reading.")
STARTUP_SECONDS = Gauge("qwend_startup_phase_seconds", "How long each phase of the last start took.", ["phase"])
TENANTS_RELOADS = Counter(
    "qwend_tenants_reloads", "Reloads of the tenants file: `changed`, `unchanged` or `failed`.", ["outcome"]
)
QUOTA_REFUSALS = Counter("qwend_quota_refusals", "Requests refused by a tenant's or key's quota, by code.", ["code"])
QUOTA_STORE_FAILURES = Counter(
    "qwend_quota_store_failures",
    "Times that Redis did not answer a quota's question; then `quotas.when_unreachable` holds.",
)
TASKS = Gauge("qwend_event_loop_tasks", "Tasks on the event loop: they go up and down with what is running.")


def exposition() -> bytes:
    """All metrics of this process in Prometheus's text format."""
    return generate_latest(REGISTRY)
