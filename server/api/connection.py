"""uvicorn's HTTP protocol, with a way for an answer to end its connection at once.

ASGI has none: a server that is told to stop sending closes politely, once all that is buffered has been sent, and to a
client that has stopped reading that is never.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_KEY = "qwend.abort"


class Connection(HttpToolsProtocol):
    """See the module; for `uvicorn.Config(http=...)`."""

    def on_message_begin(self) -> None:
        """A request begins (httptools)."""
        super().on_message_begin()
        self.scope["extensions"] = {_KEY: {"abort": self.transport.abort}}  # type: ignore[typeddict-item]


def abort_connection(scope: Scope) -> None:
    """Closes the connection that the request came on without sending what is buffered; nothing without `Connection`."""
    abort: Callable[[], None] | None = scope.get("extensions", {}).get(_KEY, {}).get("abort")
    if abort is not None:
        abort()
