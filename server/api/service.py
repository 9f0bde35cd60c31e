"""What the routes need, in one typed value that the app puts together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from server.admission.gate import Gate
from server.admission.quotas import Quotas
from server.admission.tenant_file import TenantFile
from server.dialects.limits import Limits
from server.generation.pipeline import Pipeline


@dataclass(slots=True)
class Service:
    """One daemon's rooms. `pipeline` is there once the engine is; the gate lets nobody in before."""

    gate: Gate
    tenants: TenantFile
    quotas: Quotas
    default_output_tokens: int
    metrics_need_key: bool
    limits: Limits
    body_bytes: int
    model: str
    fingerprint: str
    started: int
    strict: bool
    keep_alive: float
    phase: Callable[[], str]
    max_model_len: int | None = None
    pipeline: Pipeline | None = None


def service(request: Request) -> Service:
    """The service of the app that this request came to."""
    found: Service = request.app.state.service
    return found
