"""Turns an accepted client into one that is served or refused.

This identifies the client and decides whether to admit it: the PROXY header, the limits, the TLS
handshake.  Steps that wait for the client run in a task of its own; admitting a plain client needs
no task.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias, TypeVar, cast

import trio

from cipherecho.connections.client import Client
from cipherecho.connections.connection import SocketConnection, Terms
from cipherecho.connections.counters import Refused
from cipherecho.connections.drivers import Drivers
from cipherecho.network.certificates import Certificates
from cipherecho.network.handshake import HandshakeError, receive_proxy_header, shake_hands
from cipherecho.network.sockets import peer_name
from cipherecho.network.streams import close_gently, stream_of
from cipherecho.printable import printable
from cipherecho.server.admission import Admission
from cipherecho.session import Session, error_line
from cipherecho.settings.trusted_proxies import TrustedProxies

__all__ = ["Welcome"]

T = TypeVar("T")

_Work: TypeAlias = Callable[[], Awaitable[None]]
"""The steps for a client that have to wait."""

# How long a refused client may be silent before it is closed.  It has seldom sent anything, so a
# reset would seldom destroy its error line; and other refused clients wait for their turn.
_REFUSAL_SECONDS = 0.25
_REFUSAL_SECONDS_AT_SHUTDOWN = 0.02

# How long a refused client gets for its TLS handshake: some round trips around the world.
_REFUSAL_HANDSHAKE_SECONDS = 2.0

# How long a handshake may still take after a shutdown has begun.
_HANDSHAKE_SECONDS_AT_SHUTDOWN = 1.0

# The log gets this many characters of a client certificate's subject.
_LONGEST_SUBJECT = 100


class Welcome:
    """Admits or refuses the clients of a server.

    Args:
      session: the model of a session; each served client gets a fresh copy.
      terms: what all connections share.
      proxies: the peers that must begin with a PROXY header.
      admission: decides which clients are served.
      drivers: drive the connections of served clients.
      start: starts a task, given an async function and its arguments.
    """

    def __init__(
        self,
        session: Session,
        terms: Terms,
        proxies: TrustedProxies,
        admission: Admission,
        drivers: Drivers,
        start: Callable[..., None],
    ) -> None:
        self._session = session
        self._terms = terms
        self._proxies = proxies if proxies else None
        self._admission = admission
        self._drivers = drivers
        self._start = start
        self._draining = False

    def drain(self) -> None:
        """Shorten all handshakes: the server is shutting down."""
        self._draining = True
        self._admission.hurry_handshakes(trio.current_time() + _HANDSHAKE_SECONDS_AT_SHUTDOWN)

    def greet(
        self, certificates: Certificates | None, accepted: socket.socket, address: object
    ) -> None:
        """Take over a client that was just accepted; serve or refuse it."""
        client = Client(accepted, address, self._admission.give_back)
        self._admission.hold()
        try:
            work: _Work | None
            if self._proxies is not None and address in self._proxies:
                until = self._until()
                # Begin here, not in the task: if many clients come at once, those that are
                # crowded out make room immediately.
                scope = self._admission.begin_handshake(client, until)
                work = partial(self._identify, client, scope, until, certificates)
            else:
                work = self._admit(client, certificates)
            if work is not None:
                self._start(self._attend, client, work)
        except BaseException as fault:
            self._fail(client, fault)

    # Before a client is served, its error boundary is `greet`, which never waits, and this method.
    @trio.lowlevel.enable_ki_protection
    async def _attend(self, client: Client, work: _Work) -> None:
        """Do the steps that wait for a client; close it unless it is served afterwards."""
        try:
            await work()
        except trio.Cancelled:
            self._admission.count_refusal(client, Refused.CUT)
            raise
        except BaseException as fault:
            self._fail(client, fault)
        finally:
            if not client.is_served:
                client.close()

    def _fail(self, client: Client, fault: BaseException) -> None:
        """Log an internal error, and close its client."""
        try:
            self._drivers.log_fault(peer_name(client.address), fault)
        finally:
            client.close()

    def _admit(
        self, client: Client, certificates: Certificates | None, until: float | None = None
    ) -> _Work | None:
        """Serve or refuse a client whose address is known.

        Returns the steps that have to wait, if there are any.  A TLS handshake may take until
        `until`; if that is None, as long as any handshake that begins now.
        """
        refusal = self._admission.admit(client)
        if refusal is not None:
            self._admission.refused(client, refusal)
            if self._admission.may_be_told(client):
                return partial(self._turn_away, client, certificates, refusal)
            client.close()
        elif certificates is None:
            self._enter(client)
        else:
            until = self._until() if until is None else until
            scope = self._admission.begin_handshake(client, until)
            return partial(self._secure, client, scope, certificates)
        return None

    def _enter(self, client: Client, subject: str = "") -> None:
        """Serve a client from now on."""
        peer = peer_name(client.address)
        connection = SocketConnection(self._session.fresh(), self._terms, peer, client)
        connection.subject = subject
        if not self._admission.needs_addresses:
            client.address = None  # saves memory: there may be many thousands
        self._drivers.enter(connection)

    def _until(self) -> float:
        """Return the deadline of a handshake that begins now."""
        seconds = self._terms.limits.handshake_timeout
        if self._draining:
            seconds = min(seconds, _HANDSHAKE_SECONDS_AT_SHUTDOWN)
        return trio.current_time() + seconds

    async def _identify(
        self,
        client: Client,
        scope: trio.CancelScope,
        until: float,
        certificates: Certificates | None,
    ) -> None:
        """Receive a proxy's header, and go on with the client that it names."""
        receiving = partial(receive_proxy_header, cast(socket.socket, client.socket))
        header = await self._handshake(Refused.PROXY_HEADER, client, scope, receiving)
        if header is None:
            return
        if header.source is not None:  # None: the proxy itself checks whether we are alive
            client.address = header.source
        if work := self._admit(client, certificates, until):
            await work()

    async def _secure(
        self, client: Client, scope: trio.CancelScope, certificates: Certificates
    ) -> None:
        """Do the TLS handshake with a client, then serve it."""
        shaking = partial(shake_hands, cast(socket.socket, client.socket), certificates.context)
        secured = await self._handshake(Refused.TLS_HANDSHAKE, client, scope, shaking)
        if secured is not None:
            client.socket = secured
            self._enter(client, printable(secured.peer_subject(), _LONGEST_SUBJECT))

    async def _handshake(
        self,
        part: Refused,
        client: Client,
        scope: trio.CancelScope,
        handshake: Callable[[], Awaitable[T]],
    ) -> T | None:
        """Return the result of a part of the handshake; if it fails, log that and return None."""
        result = None
        problem = "it took too long"
        try:
            with scope:
                result = await handshake()
        except HandshakeError as error:
            problem = str(error)
        if not self._admission.end_handshake(client):
            self._admission.refused(client, Refused.CROWDED_OUT, str(part))
            return None
        if result is None:
            self._admission.refused(client, part, problem)
        return result

    async def _turn_away(
        self, client: Client, certificates: Certificates | None, refusal: Refused
    ) -> None:
        """Send a refused client the reason, then close gently."""
        silence = _REFUSAL_SECONDS_AT_SHUTDOWN if self._draining else _REFUSAL_SECONDS
        try:
            if certificates is not None:
                with trio.fail_after(_REFUSAL_HANDSHAKE_SECONDS):
                    plain = cast(socket.socket, client.socket)
                    client.socket = await shake_hands(plain, certificates.context)
            last_words = error_line(self._admission.explain(refusal))
            await close_gently(stream_of(client.socket), last_words, silence)
        except (HandshakeError, trio.BrokenResourceError, trio.TooSlowError):
            pass  # the client went away, or doesn't read
