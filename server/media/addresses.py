"""Which addresses on a network are the public internet, and which belong to somebody's own network.

The lists are ours and not `ipaddress.is_global`, whose answers changed between Python's patch releases. IPv6 is judged
the other way round from IPv4: only global unicast space is public, everything else is not.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

# IANA's special-purpose registry, multicast and reserved space.
_NOT_PUBLIC_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
            # A cloud's metadata and agent service on an address that looks public.
            "168.63.129.16/32",
        ),
    )
)
_GLOBAL_UNICAST_6 = IPv6Network("2000::/3")
# Protocol assignments with Teredo in them, documentation, and 6to4, which names any IPv4 address.
_NOT_PUBLIC_6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))

# Where a network that has only IPv6 keeps IPv4's hosts (NAT64): such an address is as public as the one inside it.
_NAT64 = IPv6Network("64:ff9b::/96")

_OWN_NETWORK_4 = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
_OWN_NETWORK_6 = IPv6Network("fc00::/7")
# Metadata services of clouds inside those ranges, which hand out credentials.
_METADATA = frozenset(map(ip_address, ("fd00:ec2::254", "fd20:ce::254")))


def is_public(address: Address) -> bool:
    """Whether the address is a host on the public internet."""
    address = _unwrapped(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return (
        address.scope_id is None
        and address in _GLOBAL_UNICAST_6
        and not any(address in network for network in _NOT_PUBLIC_6)
    )


def is_own_network(address: Address) -> bool:
    """Whether the address is a private network's; loopback, link-local and metadata services are not among them."""
    address = _unwrapped(address)
    if isinstance(address, IPv4Address):
        return any(address in network for network in _OWN_NETWORK_4)
    return address.scope_id is None and address in _OWN_NETWORK_6 and address not in _METADATA


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, else the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
