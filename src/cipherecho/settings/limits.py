"""How much one client, and all of them together, may take."""

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
    """The bounds of a server. Times are in seconds; ``math.inf`` is no bound.

    Idle and line times of connections in the express lane are looked at once in a tenth of
    the shorter one, and once a second at the least, so they may take that much longer.

    Raises:
      ValueError: one of them is not more than 0.
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
    """How many clients are served at once; one more is told that the server is full.
    Fewer, if the process may not open so many descriptors."""

    max_connections_per_source: float = field(
        default=inf,
        metadata=option(
            "Clients served at once from one source: an IPv4 address, or an IPv6 network of 64 "
            "bits.",
            COUNT_OR_INF,
        ),
    )
    """How many of those one source may have: an IPv4 address, or an IPv6 network of 64 bits,
    which is what one subscriber gets.  Clients on Unix sockets have no source."""

    accept_rate: float = field(
        default=inf,
        metadata=option(
            "New connections a second from one source, on average.",
            RATE,
        ),
    )
    """How many connections a second one source may begin, on average."""

    accept_burst: int = field(
        default=20,
        metadata=option(
            "New connections that one source may open at once, after a quiet time.",
            COUNT,
        ),
    )
    """How many it may begin at once, after a time in which it began none."""

    max_workers: int = field(
        default=8,
        metadata=option(
            "Worker threads for a slow cipher; as many again while lines take longer than the "
            "coding timeout.",
            COUNT,
        ),
    )
    """How many worker threads code at once, if the cipher is slow; connections share them by
    time.  A cipher in pure Python keeps the interpreter for as long as
    :func:`sys.setswitchinterval` says: 0.2 ms under the command line, and Python's 5 ms in a
    program of your own that does not set it.  There are as many more, at the most, if lines
    take longer than the coding time."""

    coding_timeout: float = field(
        default=30,
        metadata=option(
            "How long a slow cipher may take for a line.",
            SECONDS,
        ),
    )
    """How long a slow cipher may take for a line, in a worker thread.  A line that takes longer
    costs its connection; the thread can't be ended, and another takes its place.  A quarter of
    `max_workers` may be lost in that way by the lines of one source, which is refused then;
    twice as many as `max_workers` in all, and then every line that needs one is."""

    handshake_timeout: float = field(
        default=10,
        metadata=option(
            "How long the PROXY header and the TLS handshake may take together.",
            SECONDS,
        ),
    )
    """How long a client may take until its first line can come: for a PROXY header and the
    TLS handshake together.  (HAProxy's examples: 10 s; nginx: 60 s.)"""

    idle_timeout: float = field(
        default=300,
        metadata=option(
            "How long a client may send nothing ('inf' for ever).",
            SECONDS,
        ),
    )
    """How long no byte may come from a client. (HAProxy and nginx have 60 s or so
    for requests; people who try a cipher in a terminal think for longer.)"""

    line_timeout: float = field(
        default=300,
        metadata=option(
            "How long a line may take from its first byte to its end.",
            SECONDS,
        ),
    )
    """How long a line may take from its first byte to its ending, so that a byte now and
    then does not hold a connection for ever."""

    write_timeout: float = field(
        default=30,
        metadata=option(
            "How long a client may take to read a reply.",
            SECONDS,
        ),
    )
    """How long a client may take to take the reply to what was received at one go, which
    is some 128 KiB at most with ordinary ciphers: a modem of 1998 does that."""

    grace: float = field(
        default=8,
        metadata=option(
            "How long a shutdown may take before connections are cut.",
            SECONDS,
            of_process=True,
            under=Heading.PROCESS,
        ),
    )
    """How long a shutdown may take before the connections that are left are cut. (Docker
    kills after 10 s, Kubernetes after 30 s, so leave room below those.)"""

    def __post_init__(self) -> None:
        check_numbers(self)
