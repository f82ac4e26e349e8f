"""Client addresses, from `accept` and PROXY headers, and their sources."""

from __future__ import annotations

from collections.abc import Hashable
from ipaddress import IPv6Address
from typing import TypeAlias

__all__ = ["Source", "source_named", "source_of", "unmapped"]

Source: TypeAlias = str | bytes | int | tuple[bytes, int]
"""An IPv4 address, the first 64 bits of an IPv6 address (with the link, if it is link-local), or
the number of a virtual machine."""

# A subscriber gets a network of 64 bits, and may use any address in it.
_NETWORK_BYTES = 8

# The IPv4 peers of an IPv6 socket have addresses in ::ffff:0:0/96 (RFC 4291, 2.5.5.2).
_MAPPED = "::ffff:"


def unmapped(host: str) -> str:
    """Return an IPv4-mapped IPv6 address as IPv4, and other addresses unchanged.

    >>> unmapped("::ffff:192.0.2.1"), unmapped("2001:db8::1")
    ('192.0.2.1', '2001:db8::1')
    """
    if not host.startswith(_MAPPED):
        return host
    if "." in host:  # as the system writes it
        return host.removeprefix(_MAPPED)
    # Before 3.13, Python writes those of PROXY headers in hexadecimal.
    return str(IPv6Address(host).ipv4_mapped or host)


def source_of(address: object) -> Source | None:
    """Return the source of an address that `accept` returned; None for a Unix socket."""
    if not isinstance(address, tuple):
        return None
    host: str | int = address[0]
    if isinstance(host, int) or ":" not in host:
        return host
    host = unmapped(host)
    if ":" not in host:
        return host
    network = IPv6Address(host.partition("%")[0]).packed[:_NETWORK_BYTES]
    zone: int = address[3] if len(address) > 3 else 0
    return (network, zone) if zone else network


def source_named(peer: str) -> Hashable:
    """Return the source of a client, from its name in the log; None for a Unix socket.

    Clients have the same source here if they have the same one by :func:`source_of`.  This is for
    code that keeps thousands of clients, and only their names.
    """
    host, _, _ = peer.rpartition(":")
    if not host.startswith("["):
        return host or None
    address, _, zone = host[1:-1].partition("%")
    return IPv6Address(address).packed[:_NETWORK_BYTES], zone
