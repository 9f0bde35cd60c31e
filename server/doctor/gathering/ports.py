"""Ports, tried as the daemon binds them, and who holds one that is taken."""

from __future__ import annotations

import contextlib
import errno
import socket
from pathlib import Path

from server.doctor.ports import PortFacts
from server.doctor.start import Start

_LISTENING = "0A"

# Linux's own default, should the kernel not say.
_OUTGOING = range(32768, 61000)


def gather_ports(start: Start) -> list[PortFacts]:
    """The ports of a start, each tried. A socket that is open here keeps the next from the same port, as it will be."""
    wanted = [("public", start.host, start.port)] if start.serves else []
    if start.serves and start.admin_host is not None:
        wanted.append(("admin", start.admin_host, start.admin_port))
    wanted += [("engine", "0.0.0.0", port) for port in start.cluster_ports]
    with contextlib.ExitStack() as held:
        return [_tried(name, host, port, held) for name, host, port in wanted]


def outgoing_ports(proc: Path = Path("/proc")) -> range:
    """The range that the kernel takes the ports of outgoing connections from."""
    try:
        first, last = (proc / "sys" / "net" / "ipv4" / "ip_local_port_range").read_text().split()
    except (OSError, ValueError):
        return _OUTGOING
    return range(int(first), int(last) + 1)


def _tried(name: str, host: str, port: int, held: contextlib.ExitStack) -> PortFacts:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1)
    except socket.gaierror:
        return PortFacts(name, host, port, errno.EADDRNOTAVAIL)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None) or -1
        return PortFacts(name, host, port, number, _holder(port))
    return PortFacts(name, host, port)


def _holder(port: int, proc: Path = Path("/proc")) -> str:
    """Name and process id of who listens on a port; empty where we may not see it."""
    sockets: set[str] = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    for process in proc.glob("[0-9]*") if sockets else ():
        with contextlib.suppress(OSError):
            if any(str(each.readlink()) in sockets for each in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return ""
