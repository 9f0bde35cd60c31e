"""Who may use a route. Every route says so itself, and one that does not keeps the app from being built.

The policy is a dependency of the route, not a look at the path: paths can be written in more ways than one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import BaseRoute

from server.admission.tenants import Caller, InvalidApiKey, digest
from server.api.service import service
from server.generation.errors import RequestFailed

# FastAPI's own routes, which tell of the API and nothing else.
_DOCUMENTS = {"openapi", "swagger_ui_html", "swagger_ui_redirect"}


class Forbidden(RequestFailed):
    """The request comes from where none may come from."""

    status = 403
    type = "invalid_request_error"
    code = "forbidden"
    outcome = "unauthorized"


async def public(request: Request) -> None:
    """Anyone may."""


async def with_key(request: Request) -> None:
    """Whoever the tenants know; handlers find them by `caller`. Raises InvalidApiKey."""
    request.state.caller = service(request).tenants.directory.find(api_key(request))


async def metrics_reader(request: Request) -> None:
    """Anyone, unless the settings ask for a key. Raises InvalidApiKey."""
    if service(request).metrics_need_key:
        service(request).tenants.directory.find(api_key(request))


async def local_tool(request: Request) -> None:
    """Whoever reaches the admin port, but no web page: a browser would let any page send requests to it.

    Raises Forbidden.
    """
    if "origin" in request.headers or request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Forbidden("The admin port takes no requests from web pages.")


PUBLIC = Depends(public)
WITH_KEY = Depends(with_key)
METRICS_READER = Depends(metrics_reader)
LOCAL_TOOL = Depends(local_tool)

_POLICIES: frozenset[Callable[..., Any] | None] = frozenset({public, with_key, metrics_reader, local_tool})


def api_key(request: Request) -> str | None:
    """The request's API key as OpenAI's, Anthropic's or Azure's clients send it.

    Raises InvalidApiKey for several that differ: a client may send two, and which of them it means nobody can say.
    """
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    sent = (
        value.strip() if scheme.lower() == "bearer" else "",
        request.headers.get("x-api-key", "").strip(),
        request.headers.get("api-key", "").strip(),
    )
    # By their digests, as they are looked up, so that the time which it takes tells nothing of a key.
    keys = {digest(key): key for key in sent if key}
    if len(keys) > 1:
        raise InvalidApiKey("The request has several API keys, and they differ. Send one.")
    return next(iter(keys.values()), None)


def caller(request: Request) -> Caller:
    """Who sent this request, on a route that asks for a key."""
    found: Caller = request.state.caller
    return found


def check_policies(app: FastAPI) -> None:
    """Raises RuntimeError unless each route of `app` has exactly one policy."""
    for path, route in _flat(app.routes):
        if getattr(route, "name", None) in _DOCUMENTS and not isinstance(route, APIRoute):
            continue
        policies = _found(route.dependant) if isinstance(route, APIRoute) else set()
        if len(policies) != 1:
            names = ", ".join(sorted(policies)) or "none"
            raise RuntimeError(f"the route {path} must have one auth policy and has {names}")


def policies(app: FastAPI) -> dict[str, str]:
    """The policy of each route by its path, for tests and documents."""
    return {
        path: ", ".join(sorted(_found(route.dependant)))
        for path, route in _flat(app.routes)
        if isinstance(route, APIRoute)
    }


def _found(dependant: Dependant) -> set[str]:
    return {
        name
        for each in dependant.dependencies
        for name in ({each.call.__name__} if each.call in _POLICIES and each.call is not None else _found(each))
    }


def _flat(routes: list[BaseRoute]) -> Iterator[tuple[str, BaseRoute]]:
    """Every route, those of included routers too."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from _flat(inner.routes)
        else:
            yield getattr(route, "path", repr(route)), route
