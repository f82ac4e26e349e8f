"""Plain sockets, asked and named without waiting for anything."""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from cipherecho.settings.addresses import unmapped

__all__ = ["RECEIVE_BYTES", "Socket", "accepting_socket", "host_of", "is_readable", "peer_name"]


# One receive of this size is answered with one send. It is Trio's own default, and a
# socket's receive buffer rarely holds more.
RECEIVE_BYTES = 65_536


class Socket(Protocol):
    """What is asked of a client's socket, of a plain one or of one with TLS on it."""

    def fileno(self) -> int: ...

    def close(self) -> None: ...

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Return what has come, nothing at the end; BlockingIOError if nothing has."""
        ...

    def send(self, data: bytes, flags: int = 0, /) -> int:
        """Send what fits, and return how much that was; BlockingIOError if it is nothing."""
        ...


class _HasDescriptor(Protocol):
    def fileno(self) -> int: ...


def is_readable(endpoint: _HasDescriptor) -> bool:
    """Return whether a read would not wait: there is data, an end, an error or a connection."""
    if sys.platform == "win32":
        return bool(select.select([endpoint.fileno()], [], [], 0)[0])
    poll = select.poll()
    poll.register(endpoint.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def peer_name(address: object) -> str:
    """Return a client's address, as `accept` gives it, for the log; on Unix sockets it has none.

    An IPv4 client of an IPv6 socket has its IPv4 address, and one with a link-local address
    the zone that says on which link.
    """
    if not isinstance(address, tuple):
        return "unix"
    host, port = address[0], address[1]
    if isinstance(host, int):  # a context identifier
        return f"vsock:{host}:{port}"
    if ":" not in host:  # as mostly, and each connection pays for it
        return f"{host}:{port}"
    host = unmapped(host_of(address))
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(address: Sequence[Any]) -> str:
    """Return the host in an address of IP, with its zone if it has one: ``fe80::1%eth0``."""
    # Python leaves the zone out of the text of an address since 3.7.
    has_zone = len(address) > 3 and address[3] and "%" not in address[0]
    return f"{address[0]}%{_interface(address[3])}" if has_zone else str(address[0])


def _interface(index: int) -> str:
    """Return the name of a network interface, or its number if it is gone."""
    try:
        return socket.if_indextoname(index)
    except (OSError, AttributeError):  # nor has every platform the names
        return str(index)


class _AcceptingSocket(socket.socket):
    """A socket that accepts in half the time.

    For each connection, `accept` asks the socket for its family and type, which
    :class:`socket.socket` makes out anew as members of an enumeration.
    """

    def __init__(self, family: int, type: int, proto: int, fileno: int) -> None:  # noqa: A002
        super().__init__(family, type, proto, fileno)
        self.__dict__.update(family=family, type=type)

    family = None  # type: ignore[assignment]
    type = None  # type: ignore[assignment]


# A client whose machine or network is gone is asked after five minutes of silence, and then each
# minute; with no answer to five, it is dead. Linux would wait for two hours.
_KEEPALIVE = {"TCP_KEEPIDLE": 300, "TCP_KEEPINTVL": 60, "TCP_KEEPCNT": 5}


def accepting_socket(listening: socket.socket) -> socket.socket:
    """Return another socket that accepts the clients of `listening`; both are to be closed.

    On Linux, what it accepts sends at once and does not wait for more to be sent (Nagle's
    algorithm is off), and is found to be dead within ten minutes, whatever the idle time is:
    both are inherited from the socket that listens.

    `listening` becomes non-blocking, and that holds for everyone who has it: processes that
    inherit one socket share its flags as well.  Instances of this server want it anyway: one
    that finds a connection taken by another has to come back from `accept`.
    """
    accepting = _AcceptingSocket(
        listening.family, listening.type, listening.proto, fileno=socket.dup(listening.fileno())
    )
    accepting.setblocking(False)
    with suppress(OSError):  # Unix and vsock sockets never wait, and are never dead
        accepting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepting.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):  # macOS and Windows have their own
                accepting.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return accepting
