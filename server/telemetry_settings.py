"""Settings of what the daemon tells of itself beside its log; see `docs/telemetry.md`."""

from __future__ import annotations

from pydantic import Field

from server.section import Section


class TelemetrySettings(Section):
    """Metrics of requests, their log lines, and traces."""

    enabled: bool = Field(
        True, description="Whether requests are followed: their metrics, log lines, traces and costs all need it."
    )
    tenant_labels: int = Field(
        32, ge=0, le=1000, description="Tenants that have series of their own in metrics; all others are `other`."
    )
    traces_endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        description="Where traces are sent by OTLP over HTTP, such as `http://collector:4318/v1/traces`.",
    )
    traces_ratio: float = Field(
        1.0, ge=0, le=1, description="Part of the requests without a `traceparent` that is traced."
    )
