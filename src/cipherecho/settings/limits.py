"""Limits for one client, and for all clients of a listener."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from cipherecho.session import MAX_LINE
from cipherecho.settings.declaration import (
    COUNT,
    COUNT_OR_INF,
    RATE,
    SECONDS,
    SIZE,
    Heading,
    check_numbers,
    option,
)

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """The limits of a server.  Times are in seconds; ``math.inf`` is no limit.

    The express lane checks idle and line timeouts every tenth of the shorter one, and at least once
    a second, so they may be late by that much.

    Raises:
      ValueError: a limit is 0 or less.
    """

    max_line: int = field(
        default=MAX_LINE,
        metadata=option(
            "Longest line, without its ending: in bytes, or with a unit, as in 1MiB.",
            SIZE,
        ),
    )
    """The longest body of a line in bytes, its ending not counted, inclusive."""

    max_connections: int = field(
        default=1000,
        metadata=option(
            "Clients served at once.",
            COUNT,
        ),
    )
    """How many clients are served at once; the next one is refused with an error line.  Fewer, if
    the process can't open so many descriptors."""

    max_connections_per_source: float = field(
        default=inf,
        metadata=option(
            "Clients served at once from one source: an IPv4 address, or an IPv6 network of 64 "
            "bits.",
            COUNT_OR_INF,
        ),
    )
    """How many of them one source may have: an IPv4 address, or an IPv6 network of 64 bits, which
    is what one subscriber gets.  Clients on Unix sockets have no source."""

    accept_rate: float = field(
        default=inf,
        metadata=option(
            "New connections a second from one source, on average.",
            RATE,
        ),
    )
    """How many connections a second one source may open, on average."""

    accept_burst: int = field(
        default=20,
        metadata=option(
            "New connections that one source may open at once, after a quiet time.",
            COUNT,
        ),
    )
    """How many connections one source may open at once, after a quiet time."""

    max_workers: int = field(
        default=8,
        metadata=option(
            "Worker threads for a slow cipher; as many again while lines take longer than the "
            "coding timeout.",
            COUNT,
        ),
    )
    """How many worker threads a slow cipher has; connections share their time.  While lines exceed
    `coding_timeout`, there are at most as many again.  A cipher in pure Python keeps the
    interpreter for as long as :func:`sys.setswitchinterval` says: 0.2 ms under the command line,
    and Python's 5 ms in your own program unless it sets another."""

    coding_timeout: float = field(
        default=30,
        metadata=option(
            "How long a slow cipher may take for a line.",
            SECONDS,
        ),
    )
    """How long a slow cipher may take for a line, in a worker thread.  A line that takes longer
    closes its connection.  Its thread can't be stopped, so another one replaces it.  When the lines
    of one source hold a quarter of `max_workers` in this way, its lines are refused; when twice
    `max_workers` are held in all, every line that needs a worker is."""

    handshake_timeout: float = field(
        default=10,
        metadata=option(
            "How long the PROXY header and the TLS handshake may take together.",
            SECONDS,
        ),
    )
    """How long the PROXY header and the TLS handshake may take together.  (HAProxy's examples:
    10 s; nginx: 60 s.)"""

    idle_timeout: float = field(
        default=300,
        metadata=option(
            "How long a client may send nothing ('inf' for ever).",
            SECONDS,
        ),
    )
    """How long a client may send nothing.  (HAProxy and nginx allow about 60 s for requests; people
    who try a cipher in a terminal think for longer.)"""

    line_timeout: float = field(
        default=300,
        metadata=option(
            "How long a line may take from its first byte to its end.",
            SECONDS,
        ),
    )
    """How long a line may take from its first byte to its ending, so that a client can't hold a
    connection for ever by sending a byte now and then."""

    write_timeout: float = field(
        default=30,
        metadata=option(
            "How long a client may take to read a reply.",
            SECONDS,
        ),
    )
    """How long a client may take to read a reply.  That is at most about 128 KiB with an ordinary
    cipher, which a modem of 1998 manages."""

    grace: float = field(
        default=8,
        metadata=option(
            "How long a shutdown may take before connections are cut.",
            SECONDS,
            of_process=True,
            under=Heading.PROCESS,
        ),
    )
    """How long a shutdown may take before the remaining connections are cut.  (Docker kills after
    10 s and Kubernetes after 30 s, so stay below that.)"""

    def __post_init__(self) -> None:
        check_numbers(self)
