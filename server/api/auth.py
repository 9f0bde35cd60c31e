"""Who may use a route. Every route says so itself, and one that does not keeps the app from being built.

The policy is a dependency of the route, not a look at the path: paths can be written in more ways than one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request

from server.admission.key_hashes import IN_MEMORY
from server.admission.scopes import Dialect
from server.admission.tenants import Caller, InvalidApiKey, TenantDirectory
from server.api.anthropic_shape import request_id
from server.api.routes import flat_routes
from server.api.service import service
from server.generation.errors import RequestFailed
from server.telemetry.audit import audit
from server.telemetry.trail import current


class Forbidden(RequestFailed):
    """The request comes from where none may come from."""

    status = 403
    type = "invalid_request_error"
    code = "forbidden"
    outcome = "unauthorized"


async def public(request: Request) -> None:
    """Anyone may."""


async def any_key(request: Request) -> None:
    """Whoever the tenants know; handlers find them by `caller`. Raises InvalidApiKey."""
    request.state.caller = _find(request)


async def with_key(request: Request) -> None:
    """Whoever has a key that is not bound to dialects. Raises InvalidApiKey, and ScopeMissing."""
    _check_dialect(request, None)


async def metrics_reader(request: Request) -> None:
    """Anyone, unless the settings ask for a key. Raises InvalidApiKey."""
    if service(request).metrics_need_key:
        _find(request)


async def document_reader(request: Request) -> None:
    """Anyone, unless the settings ask for a key. Raises InvalidApiKey."""
    if service(request).documents_need_key:
        _find(request)


async def admin(request: Request) -> None:
    """Whoever reaches the admin port, where that is this machine alone; else who has a key with the scope `admin`.

    Never a web page: a browser would let any page send requests to it. Raises Forbidden, InvalidApiKey, ScopeMissing.
    """
    if "origin" in request.headers or request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Forbidden("The admin port takes no requests from web pages.")
    keys: TenantDirectory | None = request.app.state.admin_keys()
    if keys is not None:
        keys.issued(api_key(request)).scopes.check_admin()
    elif "." in (name := _host_name(request)) and not _is_address(name):
        # A page whose name was made to lead here after it was loaded is of the same origin, and says none of the above.
        raise Forbidden("The admin port is asked by its address, or by a name of this machine.")


def _host_name(request: Request) -> str:
    host = request.headers.get("host", "")
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return False


def _check_dialect(request: Request, dialect: str | None) -> None:
    request.state.caller = _find(request, dialect)


def _in_dialect(dialect: Dialect) -> Any:
    """The policy of the routes of a dialect: who has a key, and if that is bound to dialects, to this one too."""

    async def policy(request: Request) -> None:
        _check_dialect(request, dialect)

    policy.__name__ = f"{dialect}_key"
    _POLICIES.add(policy)
    return Depends(policy)


_POLICIES: set[Callable[..., Any] | None] = {public, any_key, with_key, metrics_reader, document_reader, admin}

PUBLIC = Depends(public)
ANY_KEY = Depends(any_key)
WITH_KEY = Depends(with_key)
METRICS_READER = Depends(metrics_reader)
DOCUMENT_READER = Depends(document_reader)
ADMIN = Depends(admin)

CHAT = _in_dialect("chat")
COMPLETIONS = _in_dialect("completions")
MESSAGES = _in_dialect("messages")
RESPONSES = _in_dialect("responses")
TOKENIZER = _in_dialect("tokenizer")
BATCHES = _in_dialect("batches")


def api_key(request: Request) -> str | None:
    """The request's API key as OpenAI's, Anthropic's or Azure's clients send it.

    Raises InvalidApiKey for several that differ: a client may send two, and which of them it means nobody can say.
    """
    sent = [value.strip() for header in ("x-api-key", "api-key") for value in request.headers.getlist(header)]
    for authorization in request.headers.getlist("authorization"):
        scheme, _, value = authorization.partition(" ")
        sent += [value.strip()] if scheme.lower() == "bearer" else []
    # By their hashes, as they are looked up, so that the time which it takes tells nothing of a key.
    keys = {IN_MEMORY.hash(key): key for key in sent if key}
    if len(keys) > 1:
        raise InvalidApiKey("The request has several API keys, and they differ. Send one.")
    return next(iter(keys.values()), None)


_ANY_DIALECT = "any"


def _find(request: Request, dialect: str | None = _ANY_DIALECT) -> Caller:
    """Whose key the request brings; `dialect` is what it must be for, None one that is bound to none.

    Raises InvalidApiKey and ScopeMissing, noted in the audit log.
    """
    try:
        found = service(request).tenants.directory.find(api_key(request))
        if (trail := current()) is not None:
            trail.tenant, trail.key_id = found.tenant.name, found.key_id
        if dialect != _ANY_DIALECT:
            found.scopes.check_dialect(dialect)
        return found
    except RequestFailed as error:
        client = request.client.host if request.client is not None else ""
        told = {"path": request.scope["path"][:128], "client": client, "request_id": request_id(request)}
        audit("auth_failure", code=error.code, **told)
        raise


def caller(request: Request) -> Caller:
    """Who sent this request, on a route that asks for a key."""
    found: Caller = request.state.caller
    return found


def check_policies(app: FastAPI) -> None:
    """Raises RuntimeError unless each route of `app` has exactly one policy."""
    for route in flat_routes(app.routes):
        policies = _found(route.dependant) if isinstance(route, APIRoute) else set()
        if len(policies) != 1:
            names = ", ".join(sorted(policies)) or "none"
            raise RuntimeError(f"the route {getattr(route, 'path', route)} must have one auth policy and has {names}")


def policies(app: FastAPI) -> dict[str, str]:
    """The policy of each route by its path, for tests and documents."""
    return {
        route.path: ", ".join(sorted(_found(route.dependant)))
        for route in flat_routes(app.routes)
        if isinstance(route, APIRoute)
    }


def _found(dependant: Dependant) -> set[str]:
    return {
        name
        for each in dependant.dependencies
        for name in ({each.call.__name__} if each.call in _POLICIES and each.call is not None else _found(each))
    }
