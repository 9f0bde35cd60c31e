"""GET /v1/models."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request

from server.api.auth import WITH_KEY
from server.api.service import Service, service

router = APIRouter(dependencies=[WITH_KEY])


class ModelCard(BaseModel):
    """OpenAI's description of a model, its name as it is served (`root`) whatever the alias, and the length of its
    context once the engine knows it.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: None
    max_model_len: int | None


class ModelList(BaseModel):
    """OpenAI's list of models."""

    object: Literal["list"]
    data: list[ModelCard]


@router.get("/v1/models")
async def list_models(request: Request) -> ModelList:
    """The one model that is served here, under each of its names."""
    at = service(request)
    return ModelList(object="list", data=[_card(at, name) for name in at.names])


@router.get("/v1/models/{name:path}")
async def get_model(request: Request, name: str) -> ModelCard:
    """The model by one of its names, which may hold slashes."""
    at = service(request)
    return _card(at, at.served(name))


def _card(at: Service, name: str) -> ModelCard:
    return ModelCard(
        id=name,
        object="model",
        created=at.started,
        owned_by="qwend",
        root=at.model,
        parent=None,
        max_model_len=at.max_model_len,
    )
