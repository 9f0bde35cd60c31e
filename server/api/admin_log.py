"""GET and PUT /admin/log-level: what is logged, changed while the daemon runs."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request

from server.api.auth import ADMIN
from server.api.service import Service
from server.telemetry import logs

router = APIRouter(prefix="/admin", dependencies=[ADMIN])


class LogLevel(BaseModel):
    """The least level of the daemon's own log lines."""

    level: logs.Level


@router.get("/log-level")
async def log_level() -> LogLevel:
    """The least level of the daemon's own log lines."""
    return LogLevel(level=logs.level())


@router.put("/log-level")
async def set_log_level(request: Request, wanted: LogLevel) -> LogLevel:
    """Changes the least level of the log lines from now on; a restart goes back to `log.level`."""
    get: Callable[[], Service] | None = request.app.state.controls.status
    if get is not None and (lines := get().request_lines) is not None:
        # Of requests that have ended already: by the level that was theirs.
        lines.flush()
    logs.set_level(wanted.level)
    return wanted
