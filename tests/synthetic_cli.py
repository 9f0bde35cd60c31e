"""`qwend` over the engine of `tests/bench/frontend/synthetic_engine.py`: the real front end, there in a second or two.

python -m tests.synthetic_cli serve --port ...
"""

from __future__ import annotations

from functools import partial

import server.daemon
from server.cli import app
from tests.bench.frontend.synthetic_engine import starter

STEP_SECONDS = 0.01

if __name__ == "__main__":
    # The command looks it up when it is run.
    server.daemon.run = partial(server.daemon.run, start_engine=starter(STEP_SECONDS))
    app()
