"""The addresses of clients, as `accept` and PROXY headers give them."""

from __future__ import annotations

from ipaddress import IPv6Address

__all__ = ["unmapped"]

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
