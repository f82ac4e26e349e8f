"""Sockets of clients: their interface, their names, and faster accepting."""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from cipherecho.settings.addresses import unmapped

__all__ = ["RECEIVE_BYTES", "Socket", "accepting_socket", "host_of", "is_readable", "peer_name"]


# The size of a receive, which one send answers. It is Trio's own default, and a socket's receive
# buffer rarely holds more.
RECEIVE_BYTES = 65_536


class Socket(Protocol):
    """The interface of a client's socket, plain or with TLS on it."""

    def fileno(self) -> int: ...

    def close(self) -> None: ...

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Return what has come, or b"" at the end; raise BlockingIOError if nothing has come."""
        ...

    def send(self, data: bytes, flags: int = 0, /) -> int:
        """Send what fits, and return its size; raise BlockingIOError if nothing fits."""
        ...


class _HasDescriptor(Protocol):
    def fileno(self) -> int: ...


def is_readable(endpoint: _HasDescriptor) -> bool:
    """Return whether a read wouldn't block: there is data, an end, an error or a connection."""
    if sys.platform == "win32":
        return bool(select.select([endpoint.fileno()], [], [], 0)[0])
    poll = select.poll()
    poll.register(endpoint.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def peer_name(address: object) -> str:
    """Return the name of a client for the log, from the address that `accept` returned.

    It is ``unix`` for all Unix sockets.  An IPv4 client of an IPv6 socket has its IPv4 address.  A
    link-local address has its zone.
    """
    if not isinstance(address, tuple):
        return "unix"
    host, port = address[0], address[1]
    if isinstance(host, int):  # a context identifier
        return f"vsock:{host}:{port}"
    if ":" not in host:  # the usual case; every connection pays for this
        return f"{host}:{port}"
    host = unmapped(host_of(address))
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(address: Sequence[Any]) -> str:
    """Return the host of an IP address, with its zone if it has one: ``fe80::1%eth0``."""
    # Since 3.7, Python leaves the zone out of the text.
    has_zone = len(address) > 3 and address[3] and "%" not in address[0]
    return f"{address[0]}%{_interface(address[3])}" if has_zone else str(address[0])


def _interface(index: int) -> str:
    """Return the name of a network interface, or its number if it is gone."""
    try:
        return socket.if_indextoname(index)
    except (OSError, AttributeError):  # some platforms have no names
        return str(index)


class _AcceptingSocket(socket.socket):
    """A socket that accepts in half the time.

    For each connection, `accept` reads the socket's family and type, and :class:`socket.socket`
    looks up an enum member each time.
    """

    def __init__(self, family: int, type: int, proto: int, fileno: int) -> None:  # noqa: A002
        super().__init__(family, type, proto, fileno)
        self.__dict__.update(family=family, type=type)

    family = None  # type: ignore[assignment]
    type = None  # type: ignore[assignment]


# Detects a client whose machine or network is gone: a probe after five minutes of silence, then one
# each minute, and the connection is dead after five without an answer. Linux waits for two hours.
_KEEPALIVE = {"TCP_KEEPIDLE": 300, "TCP_KEEPINTVL": 60, "TCP_KEEPCNT": 5}


def accepting_socket(listening: socket.socket) -> socket.socket:
    """Return a second socket that accepts the clients of `listening`; the caller closes both.

    On Linux, accepted sockets inherit two options: they send at once (Nagle's algorithm is off),
    and a dead connection is detected within ten minutes, whatever the idle timeout is.

    `listening` becomes non-blocking in every process that inherited it, since the flag belongs to
    the shared socket.  Instances of this server need that anyway: if another process takes a
    connection first, `accept` must not block.
    """
    accepting = _AcceptingSocket(
        listening.family, listening.type, listening.proto, fileno=socket.dup(listening.fileno())
    )
    accepting.setblocking(False)
    with suppress(OSError):  # Unix and vsock sockets have no such options
        accepting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepting.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):  # macOS and Windows have their own
                accepting.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return accepting
