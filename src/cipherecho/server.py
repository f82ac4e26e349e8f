"""The server: listeners and connections in one nursery, limits, and shutdown.

Opening listeners, accepting and serving a connection are three things that can be had
apart; :func:`serve` joins them.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import trio

from cipherecho.admission import MOST_REFUSALS, Admission
from cipherecho.chain import chain
from cipherecho.cipher import Cipher
from cipherecho.connection import Socket, SocketConnection, Terms
from cipherecho.connection_task import ConnectionTask, close_gently
from cipherecho.endpoint import Endpoint
from cipherecho.express_lane import ExpressLane, has_express_lane
from cipherecho.limits import Limits
from cipherecho.listeners import Listener, TlsListener, endpoint_of, transport_of
from cipherecho.pace import Pace
from cipherecho.printable import printable, shown
from cipherecho.prologue import PrologueError, receive_proxy_header, shake_hands
from cipherecho.proxies import Proxies
from cipherecho.recurring import Failures, Seldom
from cipherecho.session import Reply, Reset, Session, error_line
from cipherecho.sockets import is_readable, peer_name, plain_listener
from cipherecho.tally import Tally
from cipherecho.tls import Certificates
from cipherecho.tls_socket import TlsSocket, TlsStream
from cipherecho.workers import Workers

__all__ = ["serve"]

log = logging.getLogger("cipherecho")

# How long a client that is refused may be silent before it is closed. It has seldom sent
# anything, so it is in little danger of a reset; and others wait to be told the same.
_REFUSAL_SECONDS = 0.25
_REFUSAL_SECONDS_AT_SHUTDOWN = 0.02

# Whom a certificate is for is kept for the log up to so many characters.
_LONGEST_SUBJECT = 100

# It gets so long for a TLS handshake before it is told: some round trips around the world.
_REFUSAL_HANDSHAKE_SECONDS = 2.0

# At shutdown, clients that are still in a handshake or a PROXY header get so long for it.
_PROLOGUE_SECONDS_AT_SHUTDOWN = 1.0

# At shutdown, connections in the backlog are accepted for so long: enough for as many
# as a backlog holds, and an end for a flood of new ones.
_MOST_ACCEPTING_SECONDS = 2.0

# So many connections are accepted between two turns of the program's other tasks, which
# takes a millisecond.
_MOST_ACCEPTED_AT_ONCE = 64

# When the system has no descriptors left, accepting is tried again after so long.
_RETRY_SECONDS = 0.25

# What the system has run out of then.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

# What `accept` says of a connection that broke while it waited to be accepted: Linux passes
# on the network's errors, and accept(2) lists these to be taken like that.
_BROKEN_IN_BACKLOG = {
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ENONET",
        "ENOPROTOOPT",
        "EOPNOTSUPP",
        "EPERM",
        "EPROTO",
    )
    if hasattr(errno, name)
}


async def serve(
    listeners: Sequence[Listener],
    cipher: Cipher,
    limits: Limits | None = None,
    *,
    reply: Reply = Reply.BOTH,
    reset: Reset = Reset.CONNECTION,
    proxies: Proxies | None = None,
    express: bool = True,
    tally: Tally | None = None,
    shutdown: trio.Event | None = None,
    task_status: trio.TaskStatus[list[Endpoint]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer the lines of whoever connects, until `shutdown` is set or the task is cancelled.

    In a program of your own::

        async with trio.open_nursery() as nursery, open_listeners(endpoints) as listeners:
            [endpoint] = await nursery.start(serve, listeners, Rot13())

    Args:
      listeners: where clients connect; the server's alone until this returns, and closed then.
        Those of a :class:`~cipherecho.listeners.TlsListener` begin with a TLS handshake.
      cipher: a cipher of any shape that the contract has; all connections share it.
      limits: what a client may take; the defaults of :class:`Limits` if None.
      reply: what a line is answered with.
      reset: where the cipher's state starts afresh.
      proxies: the peers that have to begin, before TLS, with a PROXY header, which says whom
        they speak for; none if None.
      express: answer quiet connections by the express lane, where the platform has what it
        needs; clients see no difference but the speed.
      tally: where connections are counted, for whoever watches the server.
      shutdown: when it is set, the server accepts what waits in the backlog and no more,
        answers every complete line that it has received, closes its connections, and
        returns within ``limits.grace`` seconds.  Cancelling cuts all of this short.
      task_status: started with the endpoints of `listeners`, in their order, with the
        ports that the system picked.

    Raises:
      NotACipherError: `cipher` has none of the contract's shapes.
      ExceptionGroup: a listener broke, of the OSError that says so.  What happens to a
        connection is never raised.
    """
    with ExitStack() as stack:
        try:
            entrances = [
                _Entrance(listener, stack.enter_context(plain_listener(transport_of(listener))))
                for listener in listeners
            ]
            server = _Server(
                chain([cipher]),
                limits or Limits(),
                reply,
                reset,
                proxies or Proxies(),
                tally or Tally(),
                express=express,
            )
            await server.run(entrances, trio.Event() if shutdown is None else shutdown, task_status)
        finally:
            for listener in listeners:
                await trio.aclose_forcefully(transport_of(listener))


class _Entrance:
    """A listener, and a plain socket that accepts for it without waiting."""

    def __init__(self, listener: Listener, plain: socket.socket) -> None:
        self.listener = listener
        self.plain = plain
        self.certificates = listener.certificates if isinstance(listener, TlsListener) else None
        self.error: OSError | None = None
        """Why it could not accept."""


class _Server:
    """What the tasks of one server share."""

    def __init__(
        self,
        cipher: Cipher,
        limits: Limits,
        reply: Reply,
        reset: Reset,
        proxies: Proxies,
        tally: Tally,
        *,
        express: bool,
    ) -> None:
        self._limits = limits
        self._new = Session(cipher, reply=reply, reset=reset, max_line=limits.max_line)
        self._terms = Terms(
            limits, Pace(cipher), Workers(limits.max_workers), Failures().report, tally
        )
        self._proxies = proxies if proxies else None
        self._admission = Admission(limits, tally)
        self._tally = tally
        self._lane = (
            ExpressLane(self._terms, self._start_task, self._over)
            if express and has_express_lane()
            else None
        )
        # Those that are driven by tasks; without one yet if that is about to start.
        self._tasks: dict[SocketConnection, ConnectionTask | None] = {}
        self._beginning: set[trio.CancelScope] = set()
        self._refusing = 0
        self._draining = False
        self._exhausted = Seldom()
        tally.open = self._open

    def _open(self) -> Iterator[SocketConnection]:
        yield from self._tasks
        if self._lane is not None:
            yield from self._lane

    async def run(
        self,
        entrances: Sequence[_Entrance],
        shutdown: trio.Event,
        task_status: trio.TaskStatus[list[Endpoint]],
    ) -> None:
        try:
            await self._run(entrances, shutdown, task_status)
        finally:
            self._terms.workers.close()

    async def _run(
        self,
        entrances: Sequence[_Entrance],
        shutdown: trio.Event,
        task_status: trio.TaskStatus[list[Endpoint]],
    ) -> None:
        async with trio.open_nursery() as self._connections:
            async with trio.open_nursery() as accepting:
                if self._lane is not None:
                    self._connections.start_soon(self._lane.run)
                for entrance in entrances:
                    accepting.start_soon(self._accept_forever, entrance)
                task_status.started([endpoint_of(entrance.listener) for entrance in entrances])
                await shutdown.wait()
                accepting.cancel_scope.cancel()
            self._connections.cancel_scope.deadline = trio.current_time() + self._limits.grace
            log.info(
                "shutting down: connections=%(connections)d", {"connections": self._tally.serving}
            )
            self._drain()
            last = trio.current_time() + _MOST_ACCEPTING_SECONDS
            for entrance in entrances:
                while is_readable(entrance.plain) and trio.current_time() < last:
                    await self._accept(entrance)
                entrance.plain.close()
                await transport_of(entrance.listener).aclose()
        if self._connections.cancel_scope.cancelled_caught:
            log.warning(
                "shutdown took longer than %(grace)g s: what was left was cut",
                {"grace": self._limits.grace},
            )

    def _drain(self) -> None:
        self._draining = True
        for task in self._tasks.values():
            if task is not None:
                task.drain()
        for scope in self._beginning:
            self._hurry(scope)
        if self._lane is not None:
            self._lane.clear()
            self._lane = None

    @staticmethod
    def _hurry(scope: trio.CancelScope) -> None:
        last = trio.current_time() + _PROLOGUE_SECONDS_AT_SHUTDOWN
        scope.deadline = min(scope.deadline, last)

    async def _accept_forever(self, entrance: _Entrance) -> None:
        while True:
            await self._accept(entrance)

    async def _accept(self, entrance: _Entrance) -> None:
        """Accept whoever waits or comes next, or wait a little if the system can't."""
        await self._admission.wait_for_place()
        if self._lane is None:
            await trio.lowlevel.wait_readable(entrance.plain)
            self._accept_waiting(entrance)
        else:
            await self._lane.accept_from(entrance.plain, partial(self._accept_waiting, entrance))
        error, entrance.error = entrance.error, None
        if error is None:
            return
        if error.errno not in _EXHAUSTED:
            raise error
        self._exhausted.warn(
            "can't accept connections for now: %(problem)s", {"problem": error.strerror}
        )
        await trio.sleep(_RETRY_SECONDS)

    def _accept_waiting(self, entrance: _Entrance) -> bool:
        """Accept the connections that wait; return whether more can be accepted later.

        Accepting by Trio would cost a turn of its scheduler for each, so the plain socket is
        asked.
        """
        admission = self._admission
        try:
            for _ in range(_MOST_ACCEPTED_AT_ONCE):
                if not admission.places:
                    return False
                client, address = entrance.plain.accept()
                admission.places -= 1
                self._tally.accepted += 1
                if self._proxies is not None and address in self._proxies:
                    self._connections.start_soon(
                        self._receive_header, client, address, entrance.certificates
                    )
                else:
                    self._welcome(client, address, entrance.certificates)
        except BlockingIOError:
            pass  # that were all
        except OSError as error:
            if error.errno not in _BROKEN_IN_BACKLOG:
                entrance.error = error
                return False
        return True

    def _welcome(
        self,
        client: socket.socket,
        address: object,
        certificates: Certificates | None,
        until: float | None = None,
    ) -> None:
        """Have a client served or refused, of whom it is known who it is; it has a place."""
        refusal = self._admission.admit(address)
        if refusal is not None:
            self._admission.refused(refusal, peer_name(address))
            if self._refusing < MOST_REFUSALS:
                self._refusing += 1
                self._connections.start_soon(self._refuse, client, certificates, refusal)
            else:
                self._close(client)
        elif certificates is None:
            self._drive(self._connection(client, address))
        else:
            self._connections.start_soon(self._secure, client, address, certificates, until)

    def _connection(self, client: Socket, address: object) -> SocketConnection:
        source = address if self._admission.counts_sources else None
        return SocketConnection(self._new.fresh(), self._terms, peer_name(address), client, source)

    @contextmanager
    def _prologue(self, part: str, address: object, until: float | None) -> Iterator[None]:
        """Bound the time until a client's first line can come, and tell what went wrong."""
        if until is None:
            until = trio.current_time() + self._limits.handshake_timeout
        problem = ""
        try:
            with trio.CancelScope(deadline=until) as scope:
                if self._draining:
                    self._hurry(scope)
                self._beginning.add(scope)
                try:
                    yield
                finally:
                    self._beginning.discard(scope)
        except PrologueError as error:
            problem = str(error)
        if scope.cancelled_caught:
            problem = "it took too long"
        if problem:
            self._admission.refused(part, peer_name(address), problem)

    async def _receive_header(
        self, client: socket.socket, address: object, certificates: Certificates | None
    ) -> None:
        """Welcome the client that a proxy speaks for, once it has said who that is."""
        until = trio.current_time() + self._limits.handshake_timeout
        header = None
        try:
            with self._prologue("PROXY header", address, until):
                header = await receive_proxy_header(client)
        finally:
            if header is None:
                self._close(client)
        if header is not None:
            # A proxy that speaks for nobody, to see whether we are alive, is the client itself.
            self._welcome(client, header.source or address, certificates, until)

    async def _secure(
        self,
        client: socket.socket,
        address: object,
        certificates: Certificates,
        until: float | None,
    ) -> None:
        """Have a client served after its TLS handshake."""
        secured = None
        try:
            with self._prologue("TLS handshake", address, until):
                secured = await shake_hands(client, certificates.context)
        finally:
            if secured is None:
                self._admission.leave(address)
                self._close(client)
        if secured is not None:
            connection = self._connection(secured, address)
            connection.subject = printable(secured.peer_subject(), _LONGEST_SUBJECT)
            self._drive(connection)

    def _drive(self, connection: SocketConnection) -> None:
        """Have a connection that is quiet served by the lane, if there is one, or by a task."""
        if self._lane is None:
            self._start_task(connection)
            return
        try:
            self._lane.enter(connection)
        except OSError:  # the system allows no more descriptors in such a set
            self._start_task(connection, stay=True)

    def _start_task(self, connection: SocketConnection, *, stay: bool = False) -> None:
        """Have a connection served by a task, to `stay` there or to come back when it is quiet."""
        self._tasks[connection] = None
        until_quiet = None if stay or self._lane is None else connection.socket
        self._connections.start_soon(self._serve, connection, until_quiet)

    # Ctrl-C is meant for the program, and arrives elsewhere; what looks like it in here is
    # a plugin's.
    @trio.lowlevel.enable_ki_protection
    async def _serve(self, connection: SocketConnection, until_quiet: Socket | None) -> None:
        """Serve a connection by this task, until it has ended or may go to the lane."""
        task = ConnectionTask(connection, _stream_of(connection.socket), until_quiet)
        self._tasks[connection] = task
        quiet = False
        try:
            if self._draining:
                task.drain()
            quiet = await task.run()
        except trio.Cancelled:
            raise
        except BaseException as error:
            # A cipher that fails even at being asked what it is, or an exception of its
            # own that can't be shown: nothing of it is looked at any further.
            log.error(  # noqa: TRY400
                "a cipher broke its connection: %(error)s", {"error": shown(type(error))}
            )
        finally:
            del self._tasks[connection]
            if not quiet:
                self._over(connection)
        if quiet:
            self._drive(connection)

    def _over(self, connection: SocketConnection) -> None:
        """Close a connection that has ended, and give its place back."""
        self._admission.leave(connection.source)  # before its client sees the end
        self._close(connection.socket)

    def _close(self, client: Socket) -> None:
        client.close()
        self._admission.give_place_back()

    async def _refuse(
        self, client: socket.socket, certificates: Certificates | None, reason: str
    ) -> None:
        """Tell a client why it is not served, and give its place back."""
        silence = _REFUSAL_SECONDS_AT_SHUTDOWN if self._draining else _REFUSAL_SECONDS
        told: Socket = client
        try:
            if certificates is not None:
                with trio.fail_after(_REFUSAL_HANDSHAKE_SECONDS):
                    told = await shake_hands(client, certificates.context)
            last_words = error_line(self._admission.explain(reason))
            await close_gently(_stream_of(told), last_words, silence)
        except (PrologueError, trio.BrokenResourceError, trio.TooSlowError):
            pass  # it went away by itself, or does not listen
        finally:
            self._refusing -= 1
            self._close(told)


def _stream_of(client: Socket) -> trio.abc.HalfCloseableStream:
    if isinstance(client, TlsSocket):
        return TlsStream(client)
    assert isinstance(client, socket.socket)
    return trio.SocketStream(trio.socket.from_stdlib_socket(client))
