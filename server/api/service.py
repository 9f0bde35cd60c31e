"""What the routes need, in one typed value that the app puts together."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from starlette.requests import Request

from server.admission.desk import Desk
from server.admission.gate import Gate
from server.admission.quotas import Quotas
from server.admission.tenant_file import TenantFile
from server.admission.tenants import Caller
from server.api.background_responses import BackgroundResponses
from server.dialects.limits import Limits
from server.generation.errors import ModelNotFound
from server.generation.pipeline import Pipeline
from server.store.response_store import ResponseStore
from server.telemetry.cost import CostMeter
from server.telemetry.record import RequestRecord
from server.telemetry.request_lines import Later
from server.telemetry.requests import Requests
from server.telemetry.tracing import Tracing
from server.telemetry.trail import current
from server.vitals.signs import Refusals
from server.vitals.vitals import Vitals


@dataclass(slots=True)
class Service:
    """One daemon's rooms. `pipeline` is there once the engine is; the gate lets nobody in before."""

    desk: Desk
    vitals: Vitals
    tenants: TenantFile
    quotas: Quotas
    refusals: Refusals
    metrics_need_key: bool
    documents: bool
    documents_need_key: bool
    limits: Limits
    body_bytes: int
    body_values: int
    body_seconds: float
    model: str
    fingerprint: str
    started: int
    strict: bool
    patience: float | None
    keep_alive: float
    version: str
    engine_version: str | None
    aliases: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    alias_patterns: tuple[re.Pattern[str], ...] = ()
    max_model_len: int | None = None
    # None where telemetry is switched off, no collector is configured, or no price is known.
    requests: Requests | None = None
    request_lines: Later[RequestRecord] | None = None
    tracing: Tracing | None = None
    cost: CostMeter | None = None
    logs_texts: bool = False
    pipeline: Pipeline | None = None
    store: ResponseStore | None = None
    background: BackgroundResponses = field(default_factory=BackgroundResponses)

    @property
    def gate(self) -> Gate:
        """The door: whether anyone is let in, and who is inside."""
        return self.desk.gate

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that clients may send for the model, the served one first; others may meet an alias's pattern."""
        return (self.model, *self.aliases)

    def served(self, name: str, sender: Caller) -> str:
        """The name, if it is the model's and the sender may use it: answers carry the one that the client sent.

        Raises ModelNotFound, and ScopeMissing.
        """
        if name not in self.names and not any(pattern.fullmatch(name) for pattern in self.alias_patterns):
            known = ", ".join(map(repr, self.names))
            raise ModelNotFound(f"The model {name!r} does not exist here; this is {known}.", param="model")
        sender.scopes.check_model(name)
        if (trail := current()) is not None:
            # Under a name of its own only where the settings list it: clients make up what a pattern takes.
            trail.model = name if name in self.names else self.model
        return name


def service(request: Request) -> Service:
    """The service of the app that this request came to."""
    found: Service = request.app.state.service
    return found
