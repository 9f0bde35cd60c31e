"""uvicorn as the daemon runs it, for each of its ports."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from server.api.certificates import Certificates
from server.api.connection import Connection
from server.api.doorman import ConnectionRules, Doorman
from server.front_settings import ServerSettings
from server.settings import Settings


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handling: it would close the port at once, and we still owe refusals on it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


def certificates_of(server: ServerSettings) -> Certificates | None:
    """The certificate that the settings name, if they do. Raises CertificateError."""
    if server.tls_certificate is None or server.tls_key is None:
        return None
    return Certificates(Path(server.tls_certificate), Path(server.tls_key))


def http_server(app: ASGIApp, settings: Settings, certificates: Certificates | None = None) -> HttpServer:
    """Serves `app` on listeners that it is given, within the bounds that the settings have."""
    given = settings.connections
    rules = ConnectionRules(**given.model_dump())
    context = certificates.context if certificates is not None else None
    return HttpServer(
        uvicorn.Config(
            app,
            loop="none",
            http=partial(Connection, doorman=Doorman(rules)),  # type: ignore[arg-type]
            ssl_context_factory=(lambda config, default: context) if context is not None else None,
            # No route speaks it, and its library would read requests past `Connection`.
            ws="none",
            # Nothing here asks for the client's address, and any client can send such headers.
            proxy_headers=False,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            timeout_keep_alive=given.idle_seconds,  # type: ignore[arg-type]
        )
    )
