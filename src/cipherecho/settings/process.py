"""The settings of the process, whatever its listeners are."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from cipherecho.settings.declaration import (
    DELAY,
    METRICS_URL,
    SIZE,
    Heading,
    Switch,
    check_numbers,
    option,
)
from cipherecho.settings.endpoint import Endpoint

__all__ = ["LogFormat", "LogLevel", "ProcessSettings", "Sandbox"]


class LogLevel(StrEnum):
    """How severe a record has to be to get into the log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """What a record looks like."""

    TEXT = "text"
    """A line for people, with ``name=value`` for what machines may look for."""
    JSON = "json"
    """A line that is a JSON object, in ASCII: ``time`` (RFC 3339, UTC), ``level``,
    ``message``, the record's own fields, and ``traceback`` if there is one.  What another
    package logs has its name as ``logger``."""


class Sandbox(StrEnum):
    """How much of the sandbox there has to be."""

    OFF = "off"
    """Nothing: the process may do what its user may."""
    ON = "on"
    """What the system has of it."""
    REQUIRE = "require"
    """All that a server is promised, or it does not start."""


@dataclass(frozen=True)
class ProcessSettings:
    """The settings that a process has once, however many listeners it has.

    Raises:
      ValueError: a number is too small.
    """

    max_buffered: int = field(
        default=64 << 20,
        metadata=option(
            "Memory that all clients together may hold, in unfinished lines and unread replies. "
            "Beyond it, the clients that hold most are closed.",
            SIZE,
        ),
    )
    """In bytes, inclusive.  The default is a thousand unfinished lines of 64 KiB."""

    log_level: LogLevel = field(
        default=LogLevel.INFO,
        metadata=option(
            "Log messages of this level and above on standard error.",
            under=Heading.WATCHING,
        ),
    )

    log_format: LogFormat = field(
        default=LogFormat.TEXT,
        metadata=option(
            "Log lines for people, or JSON for machines.",
            under=Heading.WATCHING,
        ),
    )

    metrics: Endpoint | None = field(
        default=None,
        metadata=option(
            "Serve /metrics, /livez and /readyz over HTTP at tcp://HOST:PORT or unix:///PATH.",
            METRICS_URL,
            under=Heading.WATCHING,
        ),
    )
    """Served until all listeners have ended."""

    drain_delay: float = field(
        default=0,
        metadata=option(
            "How long /readyz fails before a shutdown begins.",
            DELAY,
            under=Heading.PROCESS,
        ),
    )
    """How long listeners still accept after the first signal, in seconds."""

    express: bool = field(
        default=True,
        metadata=option(
            "Serve each connection in a task of its own. Otherwise, on Linux, one task serves all "
            "quiet connections; clients notice only the speed.",
            name="no-express",
            under=Heading.PROCESS,
        ),
    )
    """As in :func:`~cipherecho.server.serving.serve`."""

    sandbox: Sandbox = field(
        default=Sandbox.OFF,
        metadata=option(
            "Before any plugin is imported, drop the rights to open files, to connect and to run "
            "programs (Linux, Landlock). What can't be dropped is logged; with --sandbox=require, "
            "the server doesn't start then.",
            Switch(Sandbox.REQUIRE),
            under=Heading.PROCESS,
        ),
    )
    """Whether the process confines itself before it makes ciphers, and further before it serves the
    first client; see :mod:`cipherecho.host.sandbox.confinement`."""

    def __post_init__(self) -> None:
        check_numbers(self)
