"""GET /v1/models."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request

from server.api.anthropic_shape import anthropic_shaped
from server.api.auth import ANY_KEY, caller
from server.api.service import Service, service
from server.dialects.messages_schema import ModelInfo, ModelInfoList

router = APIRouter(dependencies=[ANY_KEY])


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
async def list_models(request: Request) -> ModelList | ModelInfoList:
    """The one model that is served here, under each of its names that the key may ask for; in Anthropic's shape with
    `anthropic-version`.
    """
    at, scopes = service(request), caller(request).scopes
    names = [name for name in at.names if scopes.allows_model(name)]
    if anthropic_shaped(request):
        infos = [_info(at, name) for name in names]
        return ModelInfoList(
            data=infos, has_more=False, first_id=infos[0].id if infos else None, last_id=infos[-1].id if infos else None
        )
    return ModelList(object="list", data=[_card(at, name) for name in names])


@router.get("/v1/models/{name:path}")
async def get_model(request: Request, name: str) -> ModelCard | ModelInfo:
    """The model by one of its names, which may hold slashes."""
    at = service(request)
    return (_info if anthropic_shaped(request) else _card)(at, at.served(name, caller(request)))


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


def _info(at: Service, name: str) -> ModelInfo:
    return ModelInfo(
        type="model",
        id=name,
        display_name=at.model,
        created_at=datetime.fromtimestamp(at.started, UTC).isoformat(),
        lifecycle="active",
        max_input_tokens=at.max_model_len,
        max_tokens=at.max_model_len,
    )
