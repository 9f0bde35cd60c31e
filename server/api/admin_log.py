"""GET and PUT /admin/log-level: what is logged, changed while the daemon runs."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from server.api.auth import ADMIN
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
async def set_log_level(wanted: LogLevel) -> LogLevel:
    """Changes the least level of the log lines from now on; a restart goes back to `log.level`."""
    logs.set_level(wanted.level)
    return wanted
