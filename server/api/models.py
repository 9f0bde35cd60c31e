"""GET /v1/models."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from server.api.service import Service, service
from server.generation.errors import ModelNotFound

router = APIRouter()


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The one model that is served here."""
    return {"object": "list", "data": [_card(service(request))]}


@router.get("/v1/models/{name:path}")
async def get_model(request: Request, name: str) -> dict[str, Any]:
    """One model by its name."""
    at = service(request)
    if name != at.model:
        raise ModelNotFound(f"The model {name!r} does not exist here; this is {at.model!r}.", param="model")
    return _card(at)


def _card(at: Service) -> dict[str, Any]:
    return {
        "id": at.model,
        "object": "model",
        "created": at.started,
        "owned_by": "qwend",
        "max_model_len": at.max_model_len,
    }
