"""uvicorn's HTTP protocol, with a way for an answer to end its connection at once.

ASGI has none: a server that is told to stop sending closes politely, once all that is buffered has been sent, and to a
client that has stopped reading that is never.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_KEY = "qwend.abort"
# struct linger: on, for no time.
_RESET = struct.pack("ii", 1, 0)


class Connection(HttpToolsProtocol):
    """See the module; for `uvicorn.Config(http=...)`."""

    def on_message_begin(self) -> None:
        """A request begins (httptools)."""
        super().on_message_begin()
        self.scope["extensions"] = {_KEY: {"abort": self._abort}}

    def _abort(self) -> None:
        # Reset: else the kernel would go on offering what is in its own buffer to a client that does not take it.
        raw = self.transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()


def abort_connection(scope: Scope) -> None:
    """Closes the connection that the request came on without sending what is buffered; nothing without `Connection`."""
    abort: Callable[[], None] | None = scope.get("extensions", {}).get(_KEY, {}).get("abort")
    if abort is not None:
        abort()
