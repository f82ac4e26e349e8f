"""The state of one client's connection, whichever driver serves it.

Either a :mod:`~cipherecho.connections.connection_task` drives one connection, or the
:mod:`~cipherecho.connections.express_lane` drives all quiet ones together.  The drivers pass a
connection to each other as an object of this module.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from math import inf
from ssl import SSLError
from typing import Any

import trio

from cipherecho.connections.buffers import SMALL_BYTES, Buffers
from cipherecho.connections.client import Client
from cipherecho.connections.counters import Counters, Ended, Traffic
from cipherecho.connections.offload.slow_ciphers import SlowCipherDetector
from cipherecho.connections.offload.turns import Turns
from cipherecho.connections.offload.workers import Job, Workers
from cipherecho.network.tls_socket import TlsSocket
from cipherecho.session import Session, error_line
from cipherecho.settings.addresses import source_named
from cipherecho.settings.limits import Limits

__all__ = ["Connection", "SocketConnection", "Terms", "why_broken"]

log = logging.getLogger("cipherecho")

_CLOSED = (
    "closed: peer=%(peer)s reason=%(reason)r lines=%(lines)d rejected=%(rejected)d "
    "received=%(received)d sent=%(sent)d seconds=%(seconds).3f"
)


def why_broken(error: BaseException | None) -> Ended:
    """Return why a connection ended, after receiving or sending failed."""
    return Ended.TLS_ERROR if isinstance(error, SSLError) else Ended.RESET


@dataclass(frozen=True)
class Terms:
    """What all connections of a server share."""

    limits: Limits
    detector: SlowCipherDetector
    """Measures how slow the cipher is."""
    workers: Workers
    """The worker threads for a slow cipher."""
    report: Callable[[BaseException], None]
    """Called with the exception of a faulty cipher."""
    counters: Counters = field(default_factory=Counters)
    """Counts connections when they end."""
    log_empty: bool = False
    """Whether to log the end of a connection without a byte in either direction."""
    buffers: Buffers = field(default_factory=Buffers)
    """Counts the memory that connections hold; several servers may share it."""
    dismiss: Callable[[Any], None] = lambda connection: None
    """Called with a dismissed connection, so that its driver ends it; doesn't raise."""
    turns: Turns = field(default_factory=Turns)
    """When their tasks may code in the event loop."""


class Connection:
    """A client's session, and the state of its connection.

    Args:
      session: answers the client's lines.
      terms: what all connections of the server share.
      peer: the client's name in the log.
    """

    # There may be many thousands, most of them idle.
    __slots__ = (
        "_has_ended",
        "_line_deadline",
        "_line_number",
        "_started",
        "counted",
        "is_dismissed",
        "is_in_reply",
        "job",
        "peer",
        "received",
        "reply",
        "sent",
        "session",
        "subject",
        "terms",
        "waiting_since",
        "worked_at",
        "worked_until",
    )

    def __init__(self, session: Session, terms: Terms, peer: str) -> None:
        self.session = session
        self.terms = terms
        self.peer = peer
        self.subject = ""
        """The subject of the client's TLS certificate; empty without one."""
        self.reply = b""
        """The bytes that remain to be sent."""
        self.is_in_reply = False
        """Whether a part of the current reply may have been sent already."""
        self.received = 0
        """The bytes received so far, without TLS's own."""
        self.sent = 0
        """The bytes sent so far, without TLS's own."""
        self.waiting_since = trio.current_time()
        """When the connection began to wait for input."""
        self.counted = 0
        """The memory that :attr:`Terms.buffers` has counted for it, in bytes."""
        self.is_dismissed = False
        """Whether it must end because all connections hold too much; it holds nothing then."""
        self.job: Job | None = None
        """Its current job in a worker thread."""
        self.worked_until = 0.0
        """When its last job ended, in the virtual time of the workers' queue, ..."""
        self.worked_at = 0.0
        """... and by perf_counter."""
        self._started = self.waiting_since
        self._has_ended = False
        self._line_number = 0
        self._line_deadline = inf

    def input_deadline(self) -> float:
        """Return when waiting for input times out, by the idle timeout or the line timeout.

        A line's timeout starts at the first call after the line has begun.
        """
        limits = self.terms.limits
        if not self.session.has_begun_line:
            self._line_deadline = inf
        elif self._line_deadline == inf or self._line_number != self.session.lines:
            self._line_number = self.session.lines  # the number of lines before this one
            self._line_deadline = self.waiting_since + limits.line_timeout
        return min(self.waiting_since + limits.idle_timeout, self._line_deadline)

    def why_input_ended(self) -> tuple[Ended, str]:
        """Return the reason of a timeout for the log, and the message for the client."""
        limits = self.terms.limits
        if trio.current_time() >= self._line_deadline:
            return (
                Ended.LINE_TIMEOUT,
                f"got no end of the line for {limits.line_timeout:g} s, "
                "expected one within that time",
            )
        return (
            Ended.IDLE,
            f"got nothing for {limits.idle_timeout:g} s, expected a line within that time",
        )

    @property
    def source(self) -> Hashable:
        """The source of the client; all clients on Unix sockets have the same."""
        return source_named(self.peer)

    @property
    def held(self) -> int:
        """How much memory unanswered data and unread replies take, in bytes."""
        return self.session.held + len(self.reply)

    def count_held(self, data: bytes = b"") -> None:
        """Count what it holds now, including `data`, which the session hasn't got yet.

        The caller has to call :meth:`Buffers.relieve` afterwards.
        """
        if self.is_dismissed or self._has_ended:
            return
        held = self.held + len(data)
        self.terms.buffers.count(self, held if held > SMALL_BYTES else 0)

    def keep_bound(self, data: bytes = b"") -> None:
        """Count what it holds, and dismiss the largest connections; this may be one of them."""
        self.count_held(data)
        buffers = self.terms.buffers
        if buffers.bytes > buffers.most:
            buffers.relieve()

    def dismiss(self) -> None:
        """Make it end, since it holds most of too much memory; what it holds is lost.

        This doesn't touch the session, which a worker thread may be using.
        """
        self.is_dismissed = True
        self.reply = b""
        self.terms.dismiss(self)

    def dismissal(self) -> bytes:
        """Return the error line for a dismissed client."""
        return error_line(
            f"all clients together hold more than {self.terms.buffers.most} bytes in unfinished "
            "lines and unread replies, and you hold most; closing the connection"
        )

    def add_to(self, traffic: Traffic) -> None:
        """Add its traffic so far to `traffic`."""
        session = self.session
        traffic.add(session.lines, session.rejected, self.received, self.sent)

    def count_end(self, reason: Ended) -> float | None:
        """Count the end of the connection, and return how long it was open.

        A second call counts nothing, and returns None.
        """
        if self._has_ended:
            return None
        self._has_ended = True
        counters = self.terms.counters
        counters.closed[reason] += 1
        # TLS's own bytes don't count.
        counters.empty += not self.received and not self.sent
        seconds = trio.current_time() - self._started
        counters.seconds += seconds
        self.add_to(counters.ended)
        return seconds

    def end(self, reason: Ended) -> None:
        """Count and log the end of the connection, and report a cipher's failure.

        An empty connection isn't logged by default: most are health checks of a load balancer.
        """
        seconds = self.count_end(reason)
        if seconds is None:
            return
        if self.session.failure is not None:
            self.terms.report(self.session.failure)
        if not log.isEnabledFor(logging.INFO):
            return
        if not self.received and not self.sent and not self.terms.log_empty:
            return
        fields = {
            "peer": self.peer,
            "reason": str(reason),
            "lines": self.session.lines,
            "rejected": self.session.rejected,
            "received": self.received,
            "sent": self.sent,
            "seconds": seconds,
        }
        if self.subject:
            fields["certificate"] = self.subject
            log.info(f"{_CLOSED} certificate=%(certificate)r", fields)
        else:
            log.info(_CLOSED, fields)


class SocketConnection(Connection):
    """A connection on a socket, so that the express lane can drive it.

    Args:
      session, terms, peer: as for every connection.
      client: its client; :meth:`close` closes it.
    """

    __slots__ = ("client", "socket")

    def __init__(self, session: Session, terms: Terms, peer: str, client: Client) -> None:
        Connection.__init__(self, session, terms, peer)  # quicker than super()
        self.client = client
        self.socket = client.socket

    @property
    def held(self) -> int:
        """How much memory unanswered data and unread replies take, in bytes."""
        held = super().held
        return held + self.socket.held(held) if isinstance(self.socket, TlsSocket) else held

    def close(self) -> None:
        """Close the socket and give back all resources, after the connection has ended."""
        try:
            if self.counted:
                self.terms.buffers.count(self, 0)
        finally:
            self.client.close()
