from __future__ import annotations

import errno
import os
import socket
from dataclasses import replace

import pytest

from server.doctor.findings import Level
from server.doctor.gathering.ports import gather_ports, outgoing_ports
from server.doctor.ports import PortFacts, check_ports
from tests.ports import free_port
from tests.unit.doctor.samples import CPU_START

OUTGOING = range(32768, 61000)


def test_free_ports() -> None:
    port, admin = free_port(), free_port()
    start = replace(CPU_START, port=port, admin_port=admin)
    facts = gather_ports(start)
    assert [(each.name, each.port, each.error) for each in facts] == [("public", port, 0), ("admin", admin, 0)]
    assert check_ports(facts, OUTGOING).what == f"public {port}, admin {admin}: free"
    # Nothing is left behind: the daemon can take them now.
    assert gather_ports(start) == facts


def test_a_taken_port_is_told_with_who_holds_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        facts = gather_ports(replace(CPU_START, port=free_port(), admin_port=port))
        found = check_ports(facts, OUTGOING)
    assert found.level is Level.FAIL
    assert found.what.startswith(f"admin port {port} on 127.0.0.1 is in use by ")
    assert f"(process {os.getpid()})" in found.what


def test_one_port_for_two_fails() -> None:
    port = free_port()
    assert check_ports(gather_ports(replace(CPU_START, port=port, admin_port=port)), OUTGOING).level is Level.FAIL
    # On two addresses the kernel lets it pass, but who asks for the port of one must not get the other.
    facts = [PortFacts("public", "0.0.0.0", 8000), PortFacts("admin", "127.0.0.2", 8000)]
    assert check_ports(facts, OUTGOING).what.endswith("port 8000 twice")


def test_any_free_port_will_do() -> None:
    found = check_ports(gather_ports(replace(CPU_START, port=0, admin_port=0)), OUTGOING)
    assert (found.level, found.what) == (Level.OK, "public any, admin any: free")


def test_without_an_admin_port_one_is_tried_and_between_nodes_more() -> None:
    start = replace(CPU_START, port=0, admin_host=None, cluster_ports=(free_port(),))
    assert [each.name for each in gather_ports(start)] == ["public", "engine"]


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid"])
def test_an_address_of_another_machine_fails(host: str) -> None:
    found = check_ports(gather_ports(replace(CPU_START, host=host, port=0, admin_host=None)), OUTGOING)
    assert (found.level, found.what) == (Level.FAIL, f"{host} is no address of this machine")


def test_the_errors_of_a_port() -> None:
    for error, word in ((errno.EACCES, "may not be taken"), (errno.ENOBUFS, "cannot be listened on: ENOBUFS")):
        found = check_ports([PortFacts("public", "127.0.0.1", 80, error)], OUTGOING)
        assert found.level is Level.FAIL
        assert word in found.what


def test_a_port_of_outgoing_connections_warns() -> None:
    found = check_ports([PortFacts("public", "127.0.0.1", 40000)], OUTGOING)
    assert found.level is Level.WARN
    assert "40000 is within 32768-60999" in found.what
    assert len(outgoing_ports()) > 1000
