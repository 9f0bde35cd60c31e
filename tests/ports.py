"""Ports for servers that tests start."""

from __future__ import annotations

import random
import socket

# Below Linux's range of ephemeral ports (32768 to 60999), so that no outgoing connection takes the port between its
# choice here and the server's own bind, as it does with a port that the kernel chose.
PORTS = range(20_000, 30_000)


def free_port(*hosts: str) -> int:
    """A port that is free on each of `hosts` (the loopback address, if none is given).

    Raises OSError if none of a hundred is.
    """
    for port in random.sample(PORTS, 100):
        if all(_is_free(host, port) for host in hosts or ("127.0.0.1",)):
            return port
    raise OSError(f"no free port found on {hosts} between {PORTS.start} and {PORTS.stop}")


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
