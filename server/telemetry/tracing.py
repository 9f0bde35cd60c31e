"""Traces: one OpenTelemetry span for each request with a child for each stage, sent by OTLP over HTTP.

A request that brings a W3C `traceparent` is a part of that trace and follows its decision whether to record; the others
are recorded by the configured ratio. Spans are made from the request's record when it has ended; only the ids are there
before, since the engine's own spans hang below them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from server.telemetry.record import RequestRecord
from server.telemetry.request_metrics import OPERATIONS, PROVIDER

_NANOSECONDS = 1_000_000_000
_PROPAGATOR = TraceContextTextMapPropagator()


class RequestSpan:
    """The span of a request that is being served."""

    __slots__ = ("context", "span", "trace_headers", "traceparent")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.context = set_span_in_context(span, Context())
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, self.context)
        self.traceparent = carrier.get("traceparent", "")
        self.trace_headers: Mapping[str, str] | None = carrier if span.is_recording() else None

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return f"{self.span.get_span_context().trace_id:032x}"


class Tracing:
    """Sends to `endpoint`, the collector's full address of traces (`http://host:4318/v1/traces`).

    `ratio` is the part of requests without a parent that is recorded. Sending goes on in a thread; what the collector
    does not take is dropped, never waited for.
    """

    def __init__(self, endpoint: str, ratio: float, *, version: str) -> None:
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=Resource.create({"service.name": "qwend", "service.version": version}),
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=5)))
        self._tracer = self._provider.get_tracer("qwend", version)

    def begin(self, dialect: str, headers: Mapping[str, str], started: float) -> RequestSpan:
        """The span of a request that arrived with these headers at `started`, by the wall clock."""
        operation = OPERATIONS.get(dialect, "chat")
        carrier = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        parent = _PROPAGATOR.extract(carrier, Context())
        return RequestSpan(
            self._tracer.start_span(operation, parent, SpanKind.SERVER, start_time=int(started * _NANOSECONDS))
        )

    def ended(self, record: RequestRecord) -> None:
        """Ends the span of a finished request, with its stages below it."""
        ours = record.span
        if not isinstance(ours, RequestSpan) or not ours.span.is_recording():
            return
        span, began = ours.span, int(record.started * _NANOSECONDS)
        for each in record.spans:
            child = self._tracer.start_span(
                each.stage, ours.context, SpanKind.INTERNAL, start_time=began + int(each.start * _NANOSECONDS)
            )
            child.end(began + int(each.end * _NANOSECONDS))
        span.update_name(f"{OPERATIONS.get(record.dialect, 'chat')} {record.model}")
        span.set_attributes(_attributes(record))
        if record.result not in ("finished", "cancelled"):
            span.set_status(Status(StatusCode.ERROR, record.outcome))
        span.end(began + int(record.seconds * _NANOSECONDS))

    def close(self) -> None:
        """Sends what is left, for at most some seconds."""
        self._provider.shutdown()


def _attributes(record: RequestRecord) -> dict[str, Any]:
    """The GenAI semantic conventions', and our own under `qwend.`."""
    tokens = record.tokens
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": OPERATIONS.get(record.dialect, "chat"),
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": record.model,
        "gen_ai.response.model": record.model,
        "gen_ai.usage.input_tokens": tokens.prompt,
        "gen_ai.usage.output_tokens": tokens.completion,
        "gen_ai.usage.cache_read.input_tokens": tokens.cached,
        "gen_ai.usage.reasoning.output_tokens": tokens.reasoning,
        "http.response.status_code": record.status,
        "qwend.request_id": record.request_id,
        "qwend.dialect": record.dialect,
        "qwend.tenant": record.tenant,
        "qwend.priority": record.priority,
        "qwend.outcome": record.outcome,
        "qwend.stream": record.streamed,
    }
    if record.result == "finished":
        attributes["gen_ai.response.finish_reasons"] = [record.outcome]
    else:
        attributes["error.type"] = record.outcome
    if record.ttft is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = record.ttft
    return attributes
