from __future__ import annotations

from ipaddress import ip_address

import pytest

from server.media.addresses import is_own_network, is_public


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.0", "100.128.0.1", "223.255.255.255", "2606:4700::1111"),
        # IPv4's public hosts, as networks that have only IPv6 call them.
        *("::ffff:8.8.8.8", "64:ff9b::808:808"),
    ],
)
def test_the_public_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))
    assert not is_own_network(ip_address(address))


@pytest.mark.parametrize("address", ["10.0.0.1", "172.16.0.1", "192.168.1.1", "fd12::1", "::ffff:10.1.2.3"])
def test_private_networks_are_somebodys_own(address: str) -> None:
    assert not is_public(ip_address(address))
    assert is_own_network(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "169.254.169.254", "100.100.100.200", "192.0.0.192", "192.0.2.1"),
        *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
        *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b:1::1"),
        *("fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1"),
        *("fd00:ec2::254", "fd20:ce::254", "2606:4700::1111%eth0", "4000::1"),
    ],
)
def test_nothing_else_is_either(address: str) -> None:
    assert not is_public(ip_address(address))
    assert not is_own_network(ip_address(address))
