"""The proxies that must send a PROXY header."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface

from cipherecho.settings.addresses import unmapped

__all__ = ["TrustedProxies"]

_UNIX = "unix"

# The length of ::ffff:0:0/96, which has the IPv4 peers of an IPv6 socket.
_MAPPED_BITS = 96


class TrustedProxies:
    """The peers that must send a PROXY header; from others, such a header is data.

    Args:
      texts: networks or addresses, such as ``10.0.0.0/8`` or ``::1``; ``unix`` is every peer on a
        Unix socket.  IPv4 networks also cover the IPv4 peers of an IPv6 socket; IPv6 networks
        don't.

    Raises:
      ValueError: a text is none of these; the message says which.

    >>> ("10.1.2.3", 4711) in TrustedProxies(["10.0.0.0/8"])
    True
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        self._unix = False
        for text in texts:
            if text == _UNIX:
                self._unix = True
            else:
                self._networks.append(_network(text))

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def __contains__(self, address: object) -> bool:
        """Return whether a peer is trusted, by its address as `accept` returns it."""
        if not isinstance(address, tuple):
            return self._unix
        host = address[0]
        if not self._networks or not isinstance(host, str):  # hosts of vsock are numbers
            return False
        peer = ip_address(unmapped(host).partition("%")[0])
        return any(peer in network for network in self._networks)


def _network(text: str) -> IPv4Network | IPv6Network:
    if "%" in text:  # without it, the address would be trusted on every interface
        raise ValueError(f"got {text!r}, expected an address without a zone")
    try:
        interface = ip_interface(text)
    except ValueError as error:
        raise ValueError(
            f"got {text!r}, expected a network such as 10.0.0.0/8, an address, or unix"
        ) from error
    network: IPv4Network | IPv6Network = interface.network
    if interface.ip != network.network_address:
        raise ValueError(
            f"got {text!r}, expected a network with no bits of a host; did you mean {network}?"
        )
    if isinstance(interface, IPv6Interface) and network.prefixlen >= _MAPPED_BITS:
        mapped = interface.ip.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network
