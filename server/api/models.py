"""GET /v1/models."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request

from server.api.auth import WITH_KEY
from server.api.service import Service, service
from server.generation.errors import ModelNotFound

router = APIRouter(dependencies=[WITH_KEY])


class ModelCard(BaseModel):
    """OpenAI's description of a model, and the length of its context once the engine knows it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int | None


class ModelList(BaseModel):
    """OpenAI's list of models."""

    object: Literal["list"]
    data: list[ModelCard]


@router.get("/v1/models")
async def list_models(request: Request) -> ModelList:
    """The one model that is served here."""
    return ModelList(object="list", data=[_card(service(request))])


@router.get("/v1/models/{name:path}")
async def get_model(request: Request, name: str) -> ModelCard:
    """One model by its name."""
    at = service(request)
    if name != at.model:
        raise ModelNotFound(f"The model {name!r} does not exist here; this is {at.model!r}.", param="model")
    return _card(at)


def _card(at: Service) -> ModelCard:
    return ModelCard(id=at.model, object="model", created=at.started, owned_by="qwend", max_model_len=at.max_model_len)
