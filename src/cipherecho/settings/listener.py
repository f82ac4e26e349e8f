"""Where clients are served, and on what terms: one listener."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cipherecho.session import ReplyMode, StateScope
from cipherecho.settings.endpoint import Endpoint
from cipherecho.settings.limits import Limits
from cipherecho.settings.tls import TlsSettings
from cipherecho.settings.trusted_proxies import TrustedProxies

__all__ = ["Listener"]


@dataclass(frozen=True)
class Listener:
    """What a cipher is served with at some endpoints; one process may have several listeners."""

    endpoints: Sequence[Endpoint]
    limits: Limits = field(default_factory=Limits)
    reply: ReplyMode = ReplyMode.BOTH
    reset: StateScope = StateScope.CONNECTION
    tls: TlsSettings | None = None
    """Needed by endpoints that ask for TLS."""
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    """From whom a PROXY header is required."""
    log_empty: bool = False
    """Whether a connection on which no byte went either way leaves a record."""
