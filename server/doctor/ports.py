"""The TCP ports that the daemon listens on, tried as the daemon does it."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass

from server.doctor.findings import Check, Finding

PORTS = Check(
    "ports",
    "Network",
    "the public and the admin port (between nodes also those of the engine): each can be listened on",
    warns="a port within the range of outgoing connections, any of which may take it while the daemon is down",
    fails="a port is in use, not ours to take, or the same as another; or there is no such address",
)


@dataclass(frozen=True, slots=True)
class PortFacts:
    """A port that was tried: `error` is the errno, 0 for none; `holder` who listens there, as far as we may see."""

    name: str
    host: str
    port: int
    error: int = 0
    holder: str = ""


def check_ports(facts: Sequence[PortFacts], outgoing: range) -> Finding | None:
    """The line of the ports, None where none is listened on; `outgoing` is the kernel's range for connections."""
    if not facts:
        return None
    told = ", ".join(f"{each.name} {each.port or 'any'}" for each in facts)
    for each in facts:
        where = f"{each.name} port {each.port} on {each.host}"
        if each.error == errno.EADDRINUSE:
            held = f" by {each.holder}" if each.holder else ""
            return PORTS.fail(f"{where} is in use{held}", "end what listens there, or choose another with --port")
        if each.error in (errno.EACCES, errno.EPERM):
            return PORTS.fail(f"{where} may not be taken", "take one from 1024 on, or allow it to this user")
        if each.error == errno.EADDRNOTAVAIL:
            return PORTS.fail(f"{each.host} is no address of this machine", "set server.host, such as 0.0.0.0 for all")
        if each.error:
            reason = errno.errorcode.get(each.error, str(each.error))
            return PORTS.fail(f"{where} cannot be listened on: {reason}", "choose another address or port")
    fixed = [each.port for each in facts if each.port]
    double = next((port for port in fixed if fixed.count(port) > 1), None)
    if double is not None:
        return PORTS.fail(f"{told}: port {double} twice", "set server.admin_port to another")
    risky = [port for port in fixed if port in outgoing]
    if risky:
        return PORTS.warn(
            f"{told}: {risky[0]} is within {outgoing.start}-{outgoing.stop - 1}, the range of outgoing connections",
            f"`sysctl net.ipv4.ip_local_reserved_ports={','.join(map(str, risky))}`, or take a lower port",
        )
    return PORTS.ok(f"{told}: free")
