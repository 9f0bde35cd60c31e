"""`qwend` that may fetch media from 127.0.0.1 too, which it never does: tests have no other host. All else is as it is.

python -m tests.telemetry.loopback_cli serve --port ...
"""

from __future__ import annotations

from functools import partial

import server.app
from server.cli import app

if __name__ == "__main__":
    server.app.Fetcher = partial(server.app.Fetcher, extra_addresses=("127.0.0.1",))
    app()
