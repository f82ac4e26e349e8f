"""The addresses of clients, as `accept` and PROXY headers give them, and their sources."""

from __future__ import annotations

from collections.abc import Hashable
from ipaddress import IPv6Address
from typing import TypeAlias

__all__ = ["Source", "source_named", "source_of", "unmapped"]

Source: TypeAlias = str | bytes | int | tuple[bytes, int]
"""An IPv4 address, the first 64 bits of an IPv6 one (with the link, if all links have those
bits), or the number of a virtual machine."""

# What one subscriber gets is a network of 64 bits, and any address in it.
_NETWORK_BYTES = 8

# Where an IPv6 socket has the addresses of its IPv4 peers: ::ffff:0:0/96, RFC 4291, 2.5.5.2.
_MAPPED = "::ffff:"


def unmapped(host: str) -> str:
    """Return the address of an IPv4 client of an IPv6 socket as IPv4, and others as they are.

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
    """Return the source of an address as `accept` gives it; a client on a Unix socket has none."""
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
    """Return the source of a client by its name in the log; None for one on a Unix socket.

    Those that :func:`source_of` says are of one source are so here, too.  It is for whoever
    keeps nothing else of an address, since there are thousands of them.
    """
    host, _, _ = peer.rpartition(":")
    if not host.startswith("["):
        return host or None
    address, _, zone = host[1:-1].partition("%")
    return IPv6Address(address).packed[:_NETWORK_BYTES], zone
