"""Which addresses are public: what a fetch may connect to. Pure.

An IPv6 address may carry an IPv4 destination (mapped, 6to4, NAT64, ISATAP …): both must be public. Forms: RFC 4291,
3056, 6052, 8215, 4380, 5214.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_NOT_PUBLIC = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "192.0.0.0/24",
            "192.88.99.0/24",  # the relays of 6to4
            "168.63.129.16/32",  # public by its number, yet Azure's own channel to its machines
        ),
    )
)
_NOT_PUBLIC_6 = tuple(
    map(
        IPv6Network,
        (
            "::/16",  # unspecified, loopback, IPv4-compatible and -translated: nothing global but what is mapped
            "100::/32",
            "2001::/23",  # protocol assignments; Teredo is one of them
            "2001:db8::/32",
            "3fff::/20",
            "5f00::/16",
            "fc00::/7",
            "fe80::/9",  # link-local and the former site-local
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")


def is_public(address: str) -> bool:
    """Whether it is an address of the internet, and stays one whatever it is translated to."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv4Address):
        return _is_public_4(found)
    embedded = list(_embedded(found))
    if found.ipv4_mapped is not None or found in _NAT64:
        return all(map(_is_public_4, embedded))
    special = found in _NAT64_LOCAL or any(found in network for network in _NOT_PUBLIC_6)
    return not special and found.is_global and not found.is_multicast and all(map(_is_public_4, embedded))


def _is_public_4(address: IPv4Address) -> bool:
    special = address.is_multicast or any(address in network for network in _NOT_PUBLIC)
    return address.is_global and not special


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    packed = address.packed
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _NAT64 or packed[8:12] in _ISATAP:
        yield IPv4Address(packed[12:])
