"""Where clients are served, and on what terms: one listener."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cipherecho.session import Reply, Reset
from cipherecho.settings.endpoint import Endpoint
from cipherecho.settings.limits import Limits
from cipherecho.settings.tls import TlsSettings
from cipherecho.settings.trusted_proxies import Proxies

__all__ = ["Listener"]


@dataclass(frozen=True)
class Listener:
    """What a cipher is served with at some endpoints; one process may have several listeners."""

    endpoints: Sequence[Endpoint]
    limits: Limits = field(default_factory=Limits)
    reply: Reply = Reply.BOTH
    reset: Reset = Reset.CONNECTION
    tls: TlsSettings | None = None
    """Needed by endpoints that ask for TLS."""
    proxies: Proxies = field(default_factory=Proxies)
    """From whom a PROXY header is required."""
    log_empty: bool = False
    """Whether a connection on which no byte went either way leaves a record."""
