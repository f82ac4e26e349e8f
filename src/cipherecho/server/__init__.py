"""The server as a task of your own Trio program: :func:`serve`, and all that it takes.

::

    async with trio.open_nursery() as nursery, open_listeners([TcpEndpoint()]) as listeners:
        [endpoint] = await nursery.start(serve, listeners, Rot13())
"""

from __future__ import annotations

from cipherecho.connections.buffers import Buffers
from cipherecho.connections.counters import Counters, Ended, Refused
from cipherecho.network.certificates import Certificates, TlsError
from cipherecho.network.listeners import ListenError, ListeningSocket, open_listeners
from cipherecho.server.capacity import Capacity
from cipherecho.server.serving import serve
from cipherecho.session import ReplyMode, StateScope
from cipherecho.settings.endpoint import (
    Endpoint,
    EndpointError,
    FdEndpoint,
    TcpEndpoint,
    UnixEndpoint,
    VsockEndpoint,
    parse_endpoint,
)
from cipherecho.settings.limits import Limits
from cipherecho.settings.tls import ClientAuth, TlsSettings, TlsVersion
from cipherecho.settings.trusted_proxies import TrustedProxies

__all__ = [
    "Buffers",
    "Capacity",
    "Certificates",
    "ClientAuth",
    "Counters",
    "Ended",
    "Endpoint",
    "EndpointError",
    "FdEndpoint",
    "Limits",
    "ListenError",
    "ListeningSocket",
    "Refused",
    "ReplyMode",
    "StateScope",
    "TcpEndpoint",
    "TlsError",
    "TlsSettings",
    "TlsVersion",
    "TrustedProxies",
    "UnixEndpoint",
    "VsockEndpoint",
    "open_listeners",
    "parse_endpoint",
    "serve",
]
