"""The options of the server, in the order and under the headings of its help.

Some choices are written out here, so that the modules that give them a meaning (TLS, the
log) are not imported just to tell or refuse them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from cipherecho.cli.configuration.cipher_choice import cipher_options
from cipherecho.cli.configuration.option_types import (
    COUNT,
    COUNT_OR_INF,
    DELAY,
    ENDPOINT,
    FILE,
    METRICS_ENDPOINT,
    PEERS,
    RATE,
    SECONDS,
    SIZE,
    Option,
    Switch,
    word,
)
from cipherecho.connections.buffers import MOST_BUFFERED
from cipherecho.session import ReplyMode
from cipherecho.settings.limits import Limits

__all__ = ["DEFAULT_ENDPOINT", "SECTIONS", "Refused"]

DEFAULT_ENDPOINT = "tcp://127.0.0.1:8013"


@dataclass(frozen=True)
class Refused:
    """Stands for the value of an option that was given a bad one."""

    problem: str


class _ServerOption(Option):
    """An option whose bad value does not keep the others from being looked at."""

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        try:
            return super().handle_parse_result(ctx, opts, args)
        except click.UsageError as error:
            assert self.name is not None
            refused = ctx.params[self.name] = Refused(error.format_message())
            return refused, args


SECTIONS: Mapping[str, list[click.Parameter]] = {
    "What is served": [
        *cipher_options(_ServerOption),
        _ServerOption(
            "--reply",
            type=word(ReplyMode.BOTH.value, ReplyMode.CIPHER.value),
            default=ReplyMode.BOTH.value,
            help="Send each line and its code, or its code alone.",
        ),
    ],
    "Listening and TLS": [
        _ServerOption(
            "--listen",
            type=ENDPOINT,
            multiple=True,
            default=[DEFAULT_ENDPOINT],
            metavar="URL",
            help="tcp://HOST:PORT, tls://HOST:PORT, unix:///PATH, fd://N, vsock://CID:PORT, "
            "HOST:PORT, or PORT of 127.0.0.1; port 0 picks a free one. Repeat it to listen at "
            "several.",
        ),
        _ServerOption(
            "--tls-cert",
            type=FILE,
            metavar="FILE",
            help="The server's certificate and those between it and a root, in PEM; tls:// needs "
            "it.",
        ),
        _ServerOption(
            "--tls-key",
            type=FILE,
            metavar="FILE",
            help="Its key, not encrypted, in PEM, if that is not in the same file.",
        ),
        _ServerOption(
            "--tls-client-ca",
            type=FILE,
            metavar="FILE",
            help="Ask clients for a certificate that one of these, in PEM, vouches for.",
        ),
        _ServerOption(
            "--tls-client-auth",
            type=word("required", "optional"),
            default="required",
            help="Whether a client that shows none is served.",
        ),
        _ServerOption(
            "--tls-min",
            type=word("1.3", "1.2"),
            default="1.3",
            help="The oldest version that a client may speak.",
        ),
        _ServerOption(
            "--proxy-from",
            type=PEERS,
            multiple=True,
            metavar="CIDR",
            help="Proxies, which have to begin with a PROXY header: a network, an address, or "
            "'unix' for all on Unix sockets. Repeat it for several.",
        ),
    ],
    "Limits": [
        _ServerOption(
            "--max-line",
            type=SIZE,
            default=Limits.max_line,
            metavar="BYTES",
            help="The longest line, without its ending: bytes, or with a unit, as in 1MiB.",
        ),
        _ServerOption(
            "--max-buffered",
            type=SIZE,
            default=MOST_BUFFERED,
            metavar="BYTES",
            help="What all clients together may hold in memory, by lines that they do not end and "
            "replies that they do not take. Beyond it, whoever holds most is closed.",
        ),
        _ServerOption(
            "--max-connections",
            type=COUNT,
            default=Limits.max_connections,
            metavar="N",
            help="How many clients are served at once.",
        ),
        _ServerOption(
            "--max-connections-per-source",
            type=COUNT_OR_INF,
            default=Limits.max_connections_per_source,
            metavar="N",
            help="How many of them one source may have: an IPv4 address, or an IPv6 network of 64 "
            "bits.",
        ),
        _ServerOption(
            "--accept-rate",
            type=RATE,
            default=Limits.accept_rate,
            metavar="N",
            help="How many connections a second one source may begin, on average.",
        ),
        _ServerOption(
            "--accept-burst",
            type=COUNT,
            default=Limits.accept_burst,
            metavar="N",
            help="How many it may begin at once, after a time without.",
        ),
        _ServerOption(
            "--max-workers",
            type=COUNT,
            default=Limits.max_workers,
            metavar="N",
            help="How many threads a slow cipher has; as many more if lines pass the coding time.",
        ),
        _ServerOption(
            "--coding-timeout",
            type=SECONDS,
            default=Limits.coding_timeout,
            metavar="SECONDS",
            help="How long a slow cipher may take for a line.",
        ),
        _ServerOption(
            "--handshake-timeout",
            type=SECONDS,
            default=Limits.handshake_timeout,
            metavar="SECONDS",
            help="How long a PROXY header and the TLS handshake may take together.",
        ),
        _ServerOption(
            "--idle-timeout",
            type=SECONDS,
            default=Limits.idle_timeout,
            metavar="SECONDS",
            help="How long a client may send nothing ('inf' for ever).",
        ),
        _ServerOption(
            "--line-timeout",
            type=SECONDS,
            default=Limits.line_timeout,
            metavar="SECONDS",
            help="How long a line may take once it has begun.",
        ),
        _ServerOption(
            "--write-timeout",
            type=SECONDS,
            default=Limits.write_timeout,
            metavar="SECONDS",
            help="How long a client may take to take a reply.",
        ),
    ],
    "Watching": [
        _ServerOption(
            "--log-level",
            type=word("debug", "info", "warning", "error"),
            default="info",
            help="What is told on standard error.",
        ),
        _ServerOption(
            "--log-format",
            type=word("text", "json"),
            default="text",
            help="In lines for people, or in JSON for machines.",
        ),
        _ServerOption(
            "--log-empty",
            is_flag=True,
            help="Log connections on which no byte went either way, too: mostly those of load "
            "balancers that look whether the server is there.",
        ),
        _ServerOption(
            "--metrics",
            type=METRICS_ENDPOINT,
            metavar="URL",
            help="Serve /metrics, /livez and /readyz by HTTP there: tcp://HOST:PORT or "
            "unix:///PATH.",
        ),
    ],
    "The process": [
        _ServerOption(
            "--drain-delay",
            type=DELAY,
            default=0,
            metavar="SECONDS",
            help="How long /readyz says no before a shutdown begins.",
        ),
        _ServerOption(
            "--grace",
            type=SECONDS,
            default=Limits.grace,
            metavar="SECONDS",
            help="How long a shutdown may take.",
        ),
        _ServerOption(
            "--no-express",
            is_flag=True,
            help="Serve each connection by a task of its own, not all quiet ones by one task, as "
            "otherwise on Linux. Clients see no difference but the speed.",
        ),
        _ServerOption(
            "--sandbox",
            type=Switch("require"),
            is_flag=False,
            flag_value="on",
            default="false",
            metavar="[require]",
            help="Give up files, connecting and programs before any plugin is imported, on Linux "
            "(Landlock). Say what could not be given up, or, with --sandbox=require, do not start "
            "then.",
        ),
    ],
    "Settings": [
        _ServerOption(
            "--config",
            type=FILE,
            metavar="FILE",
            help="Take options from a TOML file: max-line = 99 is --max-line 99, and each "
            "[[listener]] table has a url, a cipher and limits of its own. Options given here or "
            "in the environment win, over those of every table too.",
        ),
        _ServerOption(
            "--check-config",
            is_flag=True,
            help="Say what is wrong with the options, the environment and the file, or what "
            "would be served, and exit.",
        ),
    ],
}
"""The options under each heading."""
