"""Where requests' trails begin and where their records go: the one place that all views of a request hang on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from server.telemetry import request_metrics
from server.telemetry.bounded_labels import BoundedLabel
from server.telemetry.cost import RequestCost
from server.telemetry.record import RequestRecord
from server.telemetry.trail import Trail

_LAST_UNFINISHED = 50

View = Callable[[RequestRecord], None]
"""What is told of each finished request, once."""


class Requests:
    """All requests of one daemon. `tenants` bounds how many tenants have label values of their own.

    `views` are told of each record; the metrics are one of them and always there. `charge` counts what one cost, by its
    tenant's label.
    """

    def __init__(
        self,
        *,
        tenants: int,
        models: Iterable[str],
        efforts: Iterable[str],
        views: Iterable[View],
        charge: Callable[[str, RequestCost], None],
    ) -> None:
        self._charge = charge
        known_models, known_efforts = {*models, "unknown"}, {*efforts, "default"}
        self._models = BoundedLabel(len(known_models), known_models)
        self._efforts = BoundedLabel(len(known_efforts), known_efforts)
        # Those who are not known (yet) have no part in the bound.
        self._tenants = BoundedLabel(tenants + 1, {"unknown"})
        self._views = tuple(views)
        self.last_unfinished: deque[RequestRecord] = deque(maxlen=_LAST_UNFINISHED)

    def arrived(self, dialect: str, request_id: str) -> Trail:
        """A request arrived."""
        request_metrics.RECEIVED.labels(dialect).inc()
        return Trail(dialect, request_id)

    def tenant_label(self, name: str) -> str:
        """The tenant's label in metrics."""
        return self._tenants.of(name or "unknown")

    def ended(self, trail: Trail) -> RequestRecord:
        """The request has ended, whatever way; call it once."""
        record = trail.finished()
        tenant = self.tenant_label(record.tenant)
        request_metrics.count(
            replace(
                record,
                tenant=tenant,
                model=self._models.of(record.model),
                effort=self._efforts.of(record.effort),
            )
        )
        if record.cost is not None:
            self._charge(tenant, record.cost)
        if record.result not in ("finished", "cancelled"):
            self.last_unfinished.append(record)
        for view in self._views:
            view(record)
        return record
