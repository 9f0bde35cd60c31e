"""Every route of an app, those of included routers too, and the methods that a path takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

from starlette.routing import BaseRoute, Match


def flat_routes(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """The routes in their order; FastAPI keeps an included router as one of them."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from flat_routes(inner.routes)
        else:
            yield route


def allowed_methods(routes: Iterable[BaseRoute], scope: MutableMapping[str, Any]) -> set[str]:
    """What may be done with the path of an ASGI scope. Routing itself knows only the methods of the first route there,
    and a path may have several. Of paths with a parameter in the place of a word, only the first counts.
    """
    matching = [route for route in flat_routes(routes) if route.matches(scope)[0] is not Match.NONE]
    first = getattr(matching[0], "path", None) if matching else None
    return {
        method
        for route in matching
        if getattr(route, "path", None) == first
        for method in getattr(route, "methods", None) or ()
    }
