"""Probes and metrics. They never wait for the engine."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from server.api.auth import METRICS_READER, PUBLIC
from server.api.service import service
from server.telemetry.metrics import CONTENT_TYPE, TASKS, exposition
from server.vitals.condition import Status

router = APIRouter()


class Liveness(BaseModel):
    """What the daemon is doing, and why where not all is well."""

    status: Status
    reason: str = ""


class Readiness(Liveness):
    """The same, how many requests are inside and wait for room, and, while it starts, the phase of the start.

    `restarts` is how often a supervisor has started the daemon anew.
    """

    in_flight: int
    waiting: int
    restarts: int = 0
    phase: str | None = None


def _probe(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model}, 503: {"model": model, "description": "Not now"}}


@router.head("/health", include_in_schema=False, dependencies=[PUBLIC])
@router.get("/health", responses=_probe(Readiness), dependencies=[PUBLIC])
@router.head("/health/ready", include_in_schema=False, dependencies=[PUBLIC])
@router.get("/health/ready", responses=_probe(Readiness), dependencies=[PUBLIC])
async def ready(request: Request) -> Response:
    """200 when requests are served, else 503; the body says what the daemon is doing, and why."""
    at = service(request)
    now = at.vitals.condition()
    body: dict[str, Any] = {
        "status": now.status,
        "reason": now.reason,
        "in_flight": len(at.gate),
        "waiting": at.desk.waiting,
        "restarts": at.vitals.restarts,
    }
    if now.phase is not None:
        body["phase"] = now.phase
    return _json(200 if now.ready else 503, body)


@router.head("/health/live", include_in_schema=False, dependencies=[PUBLIC])
@router.get("/health/live", responses=_probe(Liveness), dependencies=[PUBLIC])
async def live(request: Request) -> Response:
    """200 unless the engine is dead or stalled: starting, draining and being busy are life."""
    now = service(request).vitals.condition()
    return _json(200 if now.live else 503, {"status": now.status, "reason": now.reason})


@router.get("/metrics", response_class=PlainTextResponse, dependencies=[METRICS_READER])
async def metrics(request: Request) -> Response:
    """Prometheus's text format: ours (`qwend_*`) and vLLM's (`vllm:*`)."""
    TASKS.set(len(asyncio.all_tasks()))
    return Response(await asyncio.to_thread(exposition), headers={"content-type": CONTENT_TYPE})


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")
