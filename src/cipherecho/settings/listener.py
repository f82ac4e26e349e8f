"""One listener: its endpoints and its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cipherecho.session import ReplyMode, StateScope
from cipherecho.settings.declaration import PEER, URL, Heading, Words, option
from cipherecho.settings.endpoint import DEFAULT_PORT, Endpoint
from cipherecho.settings.limits import Limits
from cipherecho.settings.tls import TlsSettings
from cipherecho.settings.trusted_proxies import TrustedProxies

__all__ = ["DEFAULT_ENDPOINT", "Listener"]

DEFAULT_ENDPOINT = f"tcp://127.0.0.1:{DEFAULT_PORT}"
"""Where the server listens by default."""


@dataclass(frozen=True)
class Listener:
    """The settings for one cipher at some endpoints; a process may have several listeners."""

    endpoints: Sequence[Endpoint] = field(
        metadata=option(
            "tcp://HOST:PORT, tls://HOST:PORT, unix:///PATH, fd://N, vsock://CID:PORT, "
            "HOST:PORT, or PORT on 127.0.0.1; port 0 picks a free one. Repeat it to listen at "
            "several.",
            URL,
            under=Heading.LISTENING,
            name="listen",
            default=(DEFAULT_ENDPOINT,),
            repeatable=True,
        )
    )
    limits: Limits = field(default_factory=Limits)
    reply: ReplyMode = field(
        default=ReplyMode.BOTH,
        metadata=option(
            "Send each line followed by its ciphertext, or the ciphertext alone.",
            Words(ReplyMode.BOTH, ReplyMode.CIPHER),
            under=Heading.SERVED,
        ),
    )
    reset: StateScope = field(
        default=StateScope.CONNECTION,
        metadata=option(
            "Reset the cipher's state for each connection, or for each line.",
            under=Heading.SERVED,
        ),
    )
    tls: TlsSettings | None = None
    """Needed by endpoints that ask for TLS."""
    proxies: TrustedProxies = field(
        default_factory=TrustedProxies,
        metadata=option(
            "Require a PROXY header from these peers: a network, an address, or 'unix' for all "
            "on Unix sockets. Repeat it for several.",
            PEER,
            under=Heading.LISTENING,
            name="proxy-from",
            default=(),
            repeatable=True,
        ),
    )
    """The peers that must send a PROXY header."""
    log_empty: bool = field(
        default=False,
        metadata=option(
            "Also log connections without any data, most of them load balancers' checks.",
            under=Heading.WATCHING,
        ),
    )
    """Whether a connection on which no byte went either way leaves a record."""
