"""The sockets that are listened on, the daemon's own or its supervisor's, and how many files may be open."""

from __future__ import annotations

import os
import resource
import socket

from server.front_settings import ServerSettings

LISTENERS = "QWEND_LISTENERS"
"""Environment variable: file descriptors of sockets that a supervisor listens on, the public one first."""

_SEND_BUFFER_BYTES = 256 * 1024
# Where there is no limit, programs that walk through all possible descriptors would take minutes.
_MOST_FILES = 2**20


class CannotListen(Exception):
    """A port cannot be had; `which` is public or admin."""

    def __init__(self, which: str, host: str, port: int, why: str) -> None:
        super().__init__(f"cannot listen on the {which} port {port} of {host}: {why}")
        self.which, self.host, self.port, self.why = which, host, port, why


def listeners(server: ServerSettings) -> list[socket.socket]:
    """The public socket and, unless it is switched off, the admin one, bound before anything costly is begun.

    Raises CannotListen.
    """
    inherited = os.environ.pop(LISTENERS, "")
    if inherited:
        found = [socket.socket(fileno=int(each)) for each in inherited.split(",")]
        for each in found:
            each.set_inheritable(False)  # the engine's processes must not keep the port
        return found
    which, host, port = "public", server.host, server.port
    found = []
    try:
        found.append(_listen(host, port))
        if server.admin:
            # The port after the public one as it was really given, which may have been any free one.
            port = found[0].getsockname()[1] + 1 if server.admin_port is None else server.admin_port
            which, host = "admin", server.admin_host
            found.append(_listen(host, port))
    except (OSError, OverflowError) as error:
        for each in found:
            each.close()
        raise CannotListen(which, host, port, str(error)) from error
    return found


def allow_open_files() -> int:
    """Raises this process's limit on open files as far as it may itself; returns it. Every connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except BaseException:
        listener.close()
        raise
    # What a client does not read stays in the kernel; left to itself, that lets it be megabytes for each connection.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    listener.listen(2048)
    return listener
