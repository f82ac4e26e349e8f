"""Which peers are proxies that say in a PROXY header whom they speak for."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

__all__ = ["Proxies"]

_UNIX = "unix"


class Proxies:
    """The peers from which a PROXY header is required; from all others none is looked for.

    Args:
      texts: networks or addresses, ``10.0.0.0/8`` or ``::1``; ``unix`` is all on Unix sockets.

    Raises:
      ValueError: one of them is neither; the message says which.

    >>> ("10.1.2.3", 4711) in Proxies(["10.0.0.0/8"])
    True
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        self._unix = False
        for text in texts:
            if text == _UNIX:
                self._unix = True
                continue
            try:
                self._networks.append(ip_network(text))
            except ValueError as error:
                raise ValueError(
                    f"got {text!r}, expected a network such as 10.0.0.0/8, an address, or unix "
                    f"({error})"
                ) from error

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def __contains__(self, address: object) -> bool:
        """Return whether a peer is one of them; its address is as `accept` gives it."""
        if not isinstance(address, tuple):
            return self._unix
        if not self._networks or not isinstance(address[0], str):
            return False
        peer = ip_address(address[0].partition("%")[0])
        # An IPv4 client of a socket that takes both has an address of this form.
        peer = getattr(peer, "ipv4_mapped", None) or peer
        return any(peer in network for network in self._networks)
