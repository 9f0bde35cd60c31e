"""GET /admin/queue: who waits, why, and when each is expected to start."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.requests import Request

from server.admission.desk import Desk
from server.admission.policy.decisions import Waiting
from server.api.auth import ADMIN

router = APIRouter(prefix="/admin", dependencies=[ADMIN])

_MOST = 1000


class Resource(BaseModel):
    """What is taken of something that runs out, and how much may be."""

    used: int
    limit: int


class StepTime(BaseModel):
    """How long a step of the engine takes, as fitted: seconds, beside those for each token and KV token in it."""

    fixed: float
    token: float
    kv_token: float


class Queue(BaseModel):
    """Admission's state: `rendering` requests are not priced yet. `stale` says that the engine has gone quiet."""

    enabled: bool
    waiting: int
    rendering: int
    stale: bool
    sequences: Resource
    kv_tokens: Resource
    prefill_tokens: Resource
    prefill_tokens_per_second: int
    step_seconds: StepTime
    forecast_error_ratio: float
    forecast_trusted: bool
    requests: list[Waiting]


@router.get("/queue")
async def queue(request: Request, most: Annotated[int, Query(ge=0, le=_MOST)] = 100) -> Queue:
    """Who waits, in the order in which they would run, the room in the engine, and how good the forecasts are."""
    return _state(request.app.state.controls.desk, most)


def _state(desk: Desk, most: int) -> Queue:
    controller = desk.controller
    nothing = Resource(used=0, limit=0)
    if controller is None:
        return Queue(
            enabled=desk.enabled,
            waiting=0,
            rendering=0,
            stale=False,
            sequences=nothing,
            kv_tokens=nothing,
            prefill_tokens=nothing,
            prefill_tokens_per_second=0,
            step_seconds=StepTime(fixed=0.0, token=0.0, kv_token=0.0),
            forecast_error_ratio=0.0,
            forecast_trusted=True,
            requests=[],
        )
    room, size = controller.room, controller.size
    rate = controller.model.prefill_rate(size.step_tokens, room.sequences, room.kv_held)
    return Queue(
        enabled=True,
        waiting=controller.waiting - controller.reserved,
        rendering=controller.reserved,
        stale=controller.stale(desk.clock()),
        sequences=Resource(used=room.sequences, limit=int(room.sequence_limit)),
        kv_tokens=Resource(used=room.kv_held, limit=room.kv_limit),
        prefill_tokens=Resource(used=sum(room.prefill.values()), limit=room.prefill_limit),
        prefill_tokens_per_second=int(rate),
        step_seconds=StepTime(**asdict(controller.model.costs)),
        forecast_error_ratio=round(controller.forecast.error, 3),
        forecast_trusted=controller.forecast.trusted,
        requests=desk.standing(most),
    )
