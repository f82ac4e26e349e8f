"""Where clients are served, and on what terms: the settings of one service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cipherecho.endpoint import Endpoint
from cipherecho.limits import Limits
from cipherecho.proxies import Proxies
from cipherecho.session import Reply, Reset
from cipherecho.tls import Certificates

__all__ = ["Service"]


@dataclass(frozen=True)
class Service:
    """What a cipher is served with at some endpoints; one process may have several services."""

    endpoints: Sequence[Endpoint]
    limits: Limits = field(default_factory=Limits)
    reply: Reply = Reply.BOTH
    reset: Reset = Reset.CONNECTION
    certificates: Certificates | None = None
    """Needed by endpoints that ask for TLS."""
    proxies: Proxies = field(default_factory=Proxies)
    """From whom a PROXY header is required."""
    log_empty: bool = False
    """Whether a connection on which no byte went either way leaves a record."""
