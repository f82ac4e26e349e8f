"""What a server has done so far and does now, in numbers that cost nothing per line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Protocol

__all__ = ["Counters", "Traffic"]


# All reasons that there are, so that each is told as 0 before its first time: what grows from
# nothing has no rate.
_REFUSED = (
    "full",
    "source full",
    "source rate",
    "PROXY header",
    "TLS handshake",
    "crowded out",
    "cut",
    "internal error",
)
_CLOSED = (
    "end of input",
    "line too long",
    "cipher failed",
    "coding timeout",
    "no worker left",
    "source stuck",
    "reset by the client",
    "TLS error",
    "buffers full",
    "idle",
    "line timeout",
    "write timeout",
    "shutdown",
    "cut",
    "internal error",
)


@dataclass
class Traffic:
    """What went through connections."""

    lines: int = 0
    """Lines that were answered, the rejected ones included."""
    rejected: int = 0
    """Lines that the cipher rejected."""
    received: int = 0
    """Bytes from clients, without those of TLS."""
    sent: int = 0
    """Bytes to clients, without those of TLS."""

    def add(self, lines: int, rejected: int, received: int, sent: int) -> None:
        """Count what went through one connection."""
        self.lines += lines
        self.rejected += rejected
        self.received += received
        self.sent += sent


class _Connection(Protocol):
    """What is asked of a connection that is open."""

    def add_to(self, traffic: Traffic) -> None: ...


class Counters:
    """Counts what happens to the connections of one server.

    All but :attr:`serving` and :attr:`most` only grow.  Connections bring their traffic when
    they end; what went through those that are open is summed up when somebody asks.
    """

    def __init__(self) -> None:
        self.serving = 0
        """Connections that are open now."""
        self.most = inf
        """How many may be open at once, as far as descriptors allow; set by the server."""
        self.accepted = 0
        """Connections that were accepted, also those refused after that."""
        self.refused = Counter(dict.fromkeys(_REFUSED, 0))
        """Connections that were refused before their first line, by why."""
        self.closed = Counter(dict.fromkeys(_CLOSED, 0))
        """Connections that were served and have ended, by why."""
        self.empty = 0
        """Those of them on which no byte went either way."""
        self.workers_written_off = 0
        """Worker threads that still code lines whose time was up."""
        self.no_worker_left = False
        """Whether those are all that there may be."""
        self.seconds = 0.0
        """How long those were open, together."""
        self.ended = Traffic()
        """What went through those."""
        self.open: Callable[[], Iterable[_Connection]] = tuple
        """Returns the connections that are open; set by the server."""

    def traffic(self) -> Traffic:
        """Return what went through all connections up to now, the open ones included."""
        total = Traffic(self.ended.lines, self.ended.rejected, self.ended.received, self.ended.sent)
        for connection in self.open():
            connection.add_to(total)
        return total
