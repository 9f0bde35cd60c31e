"""Metrics of requests, all of them made from finished requests' records.

The last three have the names of OpenTelemetry's GenAI server metrics, for dashboards made for those, as Prometheus
writes them (semantic-conventions-genai, `gen_ai.server.*`, with the buckets given there and, for long prompts and
answers, some above).
"""

from __future__ import annotations

from functools import cache

from prometheus_client import Counter, Histogram

from server.telemetry.record import RequestRecord

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1800)
_STAGE_SECONDS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_TOKEN_SECONDS = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5, 10)
_GENAI_TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120)
_GENAI_TPOT = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
_GENAI_DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 327.68)
_GENAI = ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"]

RECEIVED = Counter("qwend_requests_received", "Requests for generated text that arrived.", ["dialect"])
REQUESTS = Counter(
    "qwend_requests",
    "Requests for generated text that ended, by how: `result` is finished, refused, cancelled, deadline, drain or "
    "failed, `outcome` says it more exactly.",
    ["dialect", "model", "tenant", "priority", "result", "outcome"],
)
SECONDS = Histogram(
    "qwend_request_seconds",
    "Seconds from a request's arrival to its end, whatever that was.",
    ["priority", "result"],
    buckets=_SECONDS,
)
STAGE_SECONDS = Histogram(
    "qwend_request_stage_seconds",
    "Seconds that requests took in each stage of the road that they reached: receive, media, render (template, tokens, "
    "grammar), queue, prefill, decode, send.",
    ["stage"],
    buckets=_STAGE_SECONDS,
)
TTFT = Histogram(
    "qwend_time_to_first_token_seconds",
    "Seconds from a request's arrival to the first token that the engine made for it.",
    ["priority"],
    buckets=_SECONDS,
)
TPOT = Histogram(
    "qwend_time_per_output_token_seconds",
    "Mean seconds for each token after the first, of each request.",
    ["priority"],
    buckets=_TOKEN_SECONDS,
)
TOKENS = Counter(
    "qwend_tokens",
    "Tokens of ended requests: `prompt` (`cached` are part of those), `reasoning`, `answer` and `tool`.",
    ["tenant", "effort", "kind"],
)
THINKING_REQUESTS = Counter("qwend_thinking_requests", "Requests that thought.", ["tenant", "effort"])
BUDGET_HITS = Counter(
    "qwend_thinking_budget_hits", "Requests whose thinking was ended by its budget.", ["tenant", "effort"]
)
GENAI_DURATION = Histogram(
    "gen_ai_server_request_duration_seconds",
    "OpenTelemetry's gen_ai.server.request.duration: seconds of requests, `error_type` empty for those that finished.",
    [*_GENAI, "error_type"],
    buckets=_GENAI_DURATION,
)
GENAI_TTFT = Histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "OpenTelemetry's gen_ai.server.time_to_first_token: seconds to the first token of requests that finished.",
    _GENAI,
    buckets=_GENAI_TTFT,
)
GENAI_TPOT = Histogram(
    "gen_ai_server_time_per_output_token_seconds",
    "OpenTelemetry's gen_ai.server.time_per_output_token: mean seconds for each token after the first, of "
    "requests that finished.",
    _GENAI,
    buckets=_GENAI_TPOT,
)

OPERATIONS = {"completions": "text_completion"}
"""OpenTelemetry's name of what a dialect does, where it is not `chat`."""

PROVIDER = "qwend"


# A look-up of a child by its labels costs as much as counting in it, and a request has some twenty. The labels are
# bounded before they come here.
_requests, _seconds, _stage_seconds = cache(REQUESTS.labels), cache(SECONDS.labels), cache(STAGE_SECONDS.labels)
_ttft, _tpot, _tokens = cache(TTFT.labels), cache(TPOT.labels), cache(TOKENS.labels)
_thinking, _budget_hits = cache(THINKING_REQUESTS.labels), cache(BUDGET_HITS.labels)
_genai_duration, _genai_ttft, _genai_tpot = (cache(each.labels) for each in (GENAI_DURATION, GENAI_TTFT, GENAI_TPOT))


def count(record: RequestRecord) -> None:
    """Takes a finished request in. Its tenant, model and effort must be bounded by now."""
    _requests(record.dialect, record.model, record.tenant, record.priority, record.result, record.outcome).inc()
    _seconds(record.priority, record.result).observe(record.seconds)
    for stage, seconds in record.stage_seconds().items():
        _stage_seconds(stage).observe(seconds)
    if record.ttft is not None:
        _ttft(record.priority).observe(record.ttft)
    if record.tpot is not None:
        _tpot(record.priority).observe(record.tpot)
    tokens = record.tokens
    for kind in ("prompt", "cached", "reasoning", "answer", "tool"):
        if amount := getattr(tokens, kind):
            _tokens(record.tenant, record.effort, kind).inc(amount)
    if tokens.reasoning:
        _thinking(record.tenant, record.effort).inc()
    if record.budget_hit:
        _budget_hits(record.tenant, record.effort).inc()
    genai = (OPERATIONS.get(record.dialect, "chat"), PROVIDER, record.model)
    finished = record.result == "finished"
    _genai_duration(*genai, "" if finished else record.outcome).observe(record.seconds)
    if finished and record.ttft is not None:
        _genai_ttft(*genai).observe(record.ttft)
    if finished and record.tpot is not None:
        _genai_tpot(*genai).observe(record.tpot)
