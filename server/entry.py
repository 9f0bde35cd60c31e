"""Where the command `qwend` begins: it can be ended before anything slow is imported.

The kernel does not end a container's process 1 by a signal that it does not handle, and importing takes seconds: a
container stopped in them would be waited for until it is killed.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Entry point of the console script."""
    if sys.argv[1:2] == ["serve"]:
        for number in (signal.SIGTERM, signal.SIGINT):
            # Nothing is being served yet, as where the daemon's own handlers are told so while it starts.
            signal.signal(number, lambda *_: os._exit(0))
    from server.cli import main as run

    run()
