"""What a server has done so far and does now, in numbers that cost nothing per line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Protocol

__all__ = ["Counters", "Ended", "Refused", "Traffic"]


class Refused(StrEnum):
    """Why a connection was refused, for the log and the metrics."""

    FULL = "full"
    SOURCE_FULL = "source full"
    SOURCE_RATE = "source rate"
    PROXY_HEADER = "PROXY header"
    TLS_HANDSHAKE = "TLS handshake"
    CROWDED_OUT = "crowded out"
    CUT = "cut"
    INTERNAL_ERROR = "internal error"


class Ended(StrEnum):
    """Why a connection that was served has ended, for the log and the metrics."""

    END_OF_INPUT = "end of input"
    LINE_TOO_LONG = "line too long"
    CIPHER_FAILED = "cipher failed"
    CODING_TIMEOUT = "coding timeout"
    NO_WORKER = "no worker left"
    SOURCE_STUCK = "source stuck"
    RESET = "reset by the client"
    TLS_ERROR = "TLS error"
    BUFFERS_FULL = "buffers full"
    IDLE = "idle"
    LINE_TIMEOUT = "line timeout"
    WRITE_TIMEOUT = "write timeout"
    SHUTDOWN = "shutdown"
    CUT = "cut"
    INTERNAL_ERROR = "internal error"


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
        # Each reason is told as 0 before its first time: what grows from nothing has no rate.
        self.refused = dict.fromkeys(Refused, 0)
        """Connections that were refused before their first line, by why."""
        self.closed = dict.fromkeys(Ended, 0)
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
