"""GET /version."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request

from server.api.auth import PUBLIC
from server.api.service import service

router = APIRouter(dependencies=[PUBLIC])


class Version(BaseModel):
    """`version` is qwend's own, `vllm` that of the engine in it."""

    version: str
    vllm: str | None


@router.get("/version")
async def version(request: Request) -> Version:
    """The versions of qwend (`version`) and of the vLLM in it (`vllm`)."""
    at = service(request)
    return Version(version=at.version, vllm=at.engine_version)
