"""The API's own documents, as routes with a policy like any other: FastAPI's would be served to anyone."""

from __future__ import annotations

import orjson
from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.params import Depends
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

DOCUMENT = "/openapi.json"


def documents(policy: Depends, *, page: bool) -> APIRouter:
    """Serves the OpenAPI document of the app that it is included in and, with `page`, a page that shows it."""
    router = APIRouter(dependencies=[policy], include_in_schema=False)

    @router.get(DOCUMENT)
    async def openapi_document(request: Request) -> Response:
        """The OpenAPI document."""
        return Response(orjson.dumps(request.app.openapi()), media_type="application/json")

    if page:

        @router.get("/docs")
        async def docs(request: Request) -> HTMLResponse:
            """A page that shows the OpenAPI document; a browser gets its scripts from a CDN."""
            return get_swagger_ui_html(openapi_url=DOCUMENT, title=request.app.title)

    return router
