"""The admin port's routes: reload, drain, and what is going on. Nothing here is for clients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from starlette.requests import Request

import server
from server.admission.classes import PriorityClass
from server.admission.desk import Desk
from server.admission.gate import DrainReport, State
from server.admission.quota_rules import Kind, Rule, Standing
from server.admission.quotas import Quotas
from server.admission.tenant_file import TenantFile, TenantFileError
from server.admission.tenants import Caller, Quota, Tenant
from server.api import admin_log, admin_queue, admin_status
from server.api.audited_actions import AuditedActions
from server.api.auth import ADMIN, check_policies
from server.api.document import FAILURES, describe
from server.api.documents import documents
from server.api.errors import install_error_handlers
from server.api.service import Service
from server.dialects.answer_schema import ErrorEnvelope
from server.generation.errors import InvalidRequest

router = APIRouter(prefix="/admin", dependencies=[ADMIN])


@dataclass(frozen=True, slots=True)
class Controls:
    """What the admin port reaches: the tenants and their quotas, and the daemon's own drain and state."""

    tenants: TenantFile
    quotas: Quotas
    desk: Desk
    drain: Callable[[], None]
    state: Callable[[], State]
    in_flight: Callable[[], int]
    # Where more than this machine reaches the port.
    need_key: bool = False
    status: Callable[[], Service] | None = None


class Reloaded(BaseModel):
    """What a reload changed, by tenants' names."""

    changed: bool
    added_tenants: list[str]
    removed_tenants: list[str]
    changed_tenants: list[str]


class Used(BaseModel):
    """What is used of one bound now, and in how many seconds all of it will be free again."""

    scope: Literal["tenant", "key"]
    kind: Kind
    unit: str
    seconds: int
    limit: float
    used: float
    reset_seconds: float


class KeyState(BaseModel):
    """A key that has a quota of its own, by its id."""

    id: str
    quotas: Quota
    used: list[Used]


class TenantState(BaseModel):
    """One tenant as it is now. Its keys are told by their ids alone."""

    name: str
    weight: float
    default_class: PriorityClass
    max_class: PriorityClass
    quotas: Quota
    used: list[Used]
    keys_with_quotas: list[KeyState]


class TenantStates(BaseModel):
    """All tenants."""

    tenants: list[TenantState]


class Draining(BaseModel):
    """That the daemon drains, for how many requests it waits, and what became of those that were inside.

    Asking again is how to follow a drain. Where nothing was served yet all counts are 0.
    """

    status: State
    in_flight: int
    running: int
    finished: int
    ended_early: int
    left: int
    refused: int


class ReloadFailed(InvalidRequest):
    """The tenants file is bad; what was before stays."""

    code = "reload_failed"


def build_admin_app(controls: Controls) -> FastAPI:
    """The app of the admin port."""
    app = FastAPI(
        title="qwend admin", version=server.__version__, openapi_url=None, redirect_slashes=False, responses=FAILURES
    )
    app.state.controls = controls
    app.state.admin_keys = lambda: controls.tenants.directory if controls.need_key else None
    describe(app, [ErrorEnvelope])
    install_error_handlers(app)
    app.include_router(router)
    for module in (admin_queue, admin_log, admin_status):
        app.include_router(module.router)
    app.include_router(documents(ADMIN, page=False))
    check_policies(app)
    app.add_middleware(AuditedActions)
    return app


@router.post("/reload")
async def reload(request: Request) -> Reloaded:
    """Reads the tenants file again. 400 with the reason when it is bad; the old tenants stay then."""
    try:
        change = await _controls(request).tenants.reload()
    except TenantFileError as error:
        raise ReloadFailed(str(error)) from error
    return Reloaded(
        changed=bool(change.added or change.removed or change.changed),
        added_tenants=list(change.added),
        removed_tenants=list(change.removed),
        changed_tenants=list(change.changed),
    )


@router.get("/tenants")
async def tenants(request: Request) -> TenantStates:
    """Every tenant with its weight, classes and limits, and what is used of them; never a key."""
    at = _controls(request)
    return TenantStates(tenants=[await _state(tenant, at.quotas) for tenant in at.tenants.directory.tenants])


@router.post("/drain", status_code=202)
async def drain(request: Request) -> Draining:
    """Does what SIGTERM does: refuses what comes, lets run what runs, then ends the daemon."""
    at = _controls(request)
    at.drain()
    report = at.desk.gate.drained or DrainReport()
    return Draining(status=at.state(), in_flight=at.in_flight(), **asdict(report))


def _controls(request: Request) -> Controls:
    found: Controls = request.app.state.controls
    return found


async def _state(tenant: Tenant, quotas: Quotas) -> TenantState:
    keys = []
    for key_id, quota in tenant.key_quotas.items():
        standings = await quotas.usage(Caller(tenant, key_id))
        keys.append(KeyState(id=key_id, quotas=quota, used=_used(standings, of_key=True)))
    return TenantState(
        name=tenant.name,
        weight=tenant.weight,
        default_class=tenant.default_class,
        max_class=tenant.max_class,
        quotas=tenant.quota,
        used=_used(await quotas.usage(Caller(tenant)), of_key=False),
        keys_with_quotas=keys,
    )


def _used(standings: list[tuple[Rule, Standing]], *, of_key: bool) -> list[Used]:
    shown: list[dict[str, Any]] = [
        {
            "scope": "key" if rule.of_key else "tenant",
            "kind": rule.kind,
            "unit": rule.unit,
            "seconds": rule.seconds,
            "limit": rule.limit,
            "used": round(standing.used, 1),
            "reset_seconds": round(standing.reset_seconds, 1),
        }
        for rule, standing in standings
        if rule.of_key is of_key
    ]
    return [Used(**each) for each in shown]
