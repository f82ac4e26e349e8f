"""Counters of what a server does and has done; they cost nothing per line."""

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
    """Why a served connection ended, for the log and the metrics."""

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
    """The lines and bytes that went through connections."""

    lines: int = 0
    """Answered lines, including rejected ones."""
    rejected: int = 0
    """Lines that the cipher rejected."""
    received: int = 0
    """Bytes from clients, without TLS's own."""
    sent: int = 0
    """Bytes to clients, without TLS's own."""

    def add(self, lines: int, rejected: int, received: int, sent: int) -> None:
        """Add the traffic of one connection."""
        self.lines += lines
        self.rejected += rejected
        self.received += received
        self.sent += sent


class _Connection(Protocol):
    """The interface of an open connection."""

    def add_to(self, traffic: Traffic) -> None: ...


class Counters:
    """Counts what happens to the connections of one server.

    All counters but :attr:`serving` and :attr:`most` only grow.  A connection adds its traffic when
    it ends; :meth:`traffic` adds that of open connections.
    """

    def __init__(self) -> None:
        self.serving = 0
        """Connections that are open now."""
        self.most = inf
        """How many may be open at once, limited by the descriptors; the server sets it."""
        self.accepted = 0
        """Accepted connections, including those that were refused later."""
        # Each reason begins at 0: the rate of a series that didn't exist before is unknown.
        self.refused = dict.fromkeys(Refused, 0)
        """Connections that were refused before their first line, by reason."""
        self.closed = dict.fromkeys(Ended, 0)
        """Served connections that ended, by reason."""
        self.empty = 0
        """Served connections that ended without a byte in either direction."""
        self.workers_written_off = 0
        """Worker threads that still work on lines that timed out."""
        self.no_worker_left = False
        """Whether all possible workers are written off."""
        self.seconds = 0.0
        """The total time that ended connections were open."""
        self.ended = Traffic()
        """The traffic of ended connections."""
        self.open: Callable[[], Iterable[_Connection]] = tuple
        """Returns the open connections; the server sets it."""

    def traffic(self) -> Traffic:
        """Return the traffic of all connections until now, including open ones."""
        total = Traffic(self.ended.lines, self.ended.rejected, self.ended.received, self.ended.sent)
        for connection in self.open():
            connection.add_to(total)
        return total
