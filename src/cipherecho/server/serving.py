"""The server: listeners and connections in one nursery, and shutdown.

Opening listeners, accepting, welcoming and serving a connection are four things that can be
had apart; :func:`serve` joins them, and draws the boundary round each client: whatever is
raised by what is done for one is told, and ends that one alone.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial

import trio

from cipherecho.cipher import Cipher
from cipherecho.ciphers.composition import chain
from cipherecho.connections.buffers import Buffers, least_buffered
from cipherecho.connections.client import Client
from cipherecho.connections.connection import SocketConnection, Terms
from cipherecho.connections.connection_task import ConnectionTask
from cipherecho.connections.counters import Counters, Ended, Refused
from cipherecho.connections.express_lane import ExpressLane, has_express_lane
from cipherecho.connections.log_throttle import FailureLog, LogThrottle
from cipherecho.connections.offload.slow_ciphers import SlowCipherDetector
from cipherecho.connections.offload.workers import Workers
from cipherecho.network.certificates import Certificates
from cipherecho.network.listeners import ListeningSocket
from cipherecho.network.sockets import Socket, peer_name
from cipherecho.network.streams import stream_of
from cipherecho.server.accepting import Acceptor
from cipherecho.server.admission import Admission
from cipherecho.server.welcome import Welcome
from cipherecho.session import ReplyMode, Session, StateScope
from cipherecho.settings.endpoint import Endpoint
from cipherecho.settings.limits import Limits
from cipherecho.settings.trusted_proxies import TrustedProxies

__all__ = ["serve"]

log = logging.getLogger("cipherecho")

# At shutdown, connections in the backlog are accepted for so long: enough for as many
# as a backlog holds, and an end for a flood of new ones.
_MOST_ACCEPTING_SECONDS = 2.0


async def serve(
    listeners: Sequence[ListeningSocket],
    cipher: Cipher,
    limits: Limits | None = None,
    *,
    reply: ReplyMode = ReplyMode.BOTH,
    reset: StateScope = StateScope.CONNECTION,
    proxies: TrustedProxies | None = None,
    express: bool = True,
    log_empty: bool = False,
    counters: Counters | None = None,
    buffers: Buffers | None = None,
    shutdown: trio.Event | None = None,
    task_status: trio.TaskStatus[list[Endpoint]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer the lines of whoever connects, until `shutdown` is set or the task is cancelled.

    In a program of your own::

        async with trio.open_nursery() as nursery, open_listeners(endpoints) as listeners:
            [endpoint] = await nursery.start(serve, listeners, Rot13())

    Args:
      listeners: where clients connect; the server's alone until this returns, and closed then.
        Clients of one with certificates begin with a TLS handshake.
      cipher: a cipher of any shape that the contract has; all connections share it.
      limits: what a client may take; the defaults of :class:`Limits` if None.
      reply: what a line is answered with.
      reset: where the cipher's state starts afresh.
      proxies: the peers that have to begin, before TLS, with a PROXY header, which says whom
        they speak for; none if None.
      express: answer quiet connections by the express lane, where the platform has what it
        needs; clients see no difference but the speed.
      log_empty: log the end of every connection, also of those on which no byte went either way.
      counters: where connections are counted, for whoever watches the server.
      buffers: where it is counted what connections hold in memory, and what bounds that; for
        several servers in one process to have one bound together, give it to all of them.
        64 MiB for this server alone if None.
      shutdown: when it is set, the server accepts what waits in the backlog and no more,
        answers every complete line that it has received, closes its connections, and
        returns within ``limits.grace`` seconds.  Cancelling cuts all of this short.
      task_status: started with the endpoints of `listeners`, in their order, with the
        ports that the system picked.

    Raises:
      NotACipherError: `cipher` has none of the contract's shapes.
      ValueError: `buffers` have less room than one client needs for one line.

    What happens to a connection is never raised, and a listener that fails is told of and tried
    again.
    """
    limits = limits or Limits()
    try:
        server = _Server(
            chain([cipher]),
            limits,
            reply,
            reset,
            proxies or TrustedProxies(),
            counters or Counters(),
            _with_room(Buffers() if buffers is None else buffers, limits.max_line),
            express=express,
            log_empty=log_empty,
        )
        await server.run(listeners, trio.Event() if shutdown is None else shutdown, task_status)
    finally:
        for listener in listeners:
            listener.socket.close()


class _Server:
    """What the tasks of one server share."""

    def __init__(
        self,
        cipher: Cipher,
        limits: Limits,
        reply: ReplyMode,
        reset: StateScope,
        proxies: TrustedProxies,
        counters: Counters,
        buffers: Buffers,
        *,
        express: bool,
        log_empty: bool,
    ) -> None:
        self._limits = limits
        failures = FailureLog(
            "the cipher failed; this is a bug of its plugin", "the cipher failed again"
        )
        pace = SlowCipherDetector(cipher)
        self._terms = Terms(
            limits,
            pace,
            Workers(limits, pace, counters),
            failures.report,
            counters,
            log_empty,
            buffers,
            self._dismiss,
        )
        self._faults = FailureLog(
            "internal error on the connection of %(peer)s",
            "internal error again, on the connection of %(peer)s",
        )
        self._admission = Admission(limits, counters)
        self._welcome = Welcome(
            Session(cipher, reply=reply, reset=reset, max_line=limits.max_line),
            self._terms,
            proxies,
            self._admission,
            self._start_attending,
            self._drive,
        )
        self._counters = counters
        self._lane = (
            ExpressLane(self._terms, self._start_task, self._lose)
            if express and has_express_lane()
            else None
        )
        # Those that are driven by tasks; without one yet if that is about to start.
        self._tasks: dict[SocketConnection, ConnectionTask | None] = {}
        self._draining = False
        self._cannot_accept = LogThrottle()
        counters.open = self._open

    def _open(self) -> Iterator[SocketConnection]:
        yield from self._tasks
        if self._lane is not None:
            yield from self._lane

    async def run(
        self,
        listeners: Sequence[ListeningSocket],
        shutdown: trio.Event,
        task_status: trio.TaskStatus[list[Endpoint]],
    ) -> None:
        with ExitStack() as stack:
            stack.callback(self._terms.workers.close)
            acceptors = [stack.enter_context(closing(self._acceptor(one))) for one in listeners]
            endpoints = [listener.endpoint for listener in listeners]
            await self._run(acceptors, shutdown, partial(task_status.started, endpoints))

    def _acceptor(self, listening: ListeningSocket) -> Acceptor:
        return Acceptor(
            listening,
            partial(self._greet, listening.certificates),
            self._cannot_accept,
            "can't accept connections for now: %(problem)s",
            self._admission,
            self._lane,
        )

    async def _run(
        self, acceptors: Sequence[Acceptor], shutdown: trio.Event, started: Callable[[], None]
    ) -> None:
        async with trio.open_nursery() as self._connections:
            async with trio.open_nursery() as accepting:
                if self._lane is not None:
                    self._connections.start_soon(self._lane.run)
                for acceptor in acceptors:
                    accepting.start_soon(acceptor.run)
                started()
                await shutdown.wait()
                accepting.cancel_scope.cancel()
            self._connections.cancel_scope.deadline = trio.current_time() + self._limits.grace
            log.info(
                "shutting down: connections=%(connections)d",
                {"connections": self._counters.serving},
            )
            self._drain()
            last = trio.current_time() + _MOST_ACCEPTING_SECONDS
            for acceptor in acceptors:
                await acceptor.accept_last(last)
                acceptor.close()
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
        self._welcome.drain()
        if self._lane is not None:
            self._lane.clear()
            self._lane = None

    # The boundary round one client. What is below runs in tasks of its own or, for the lane
    # and for accepting, in place; either way it ends in _lose or _lose_client.

    def _greet(
        self, certificates: Certificates | None, accepted: socket.socket, address: object
    ) -> None:
        """Have a client served or refused that was just accepted."""
        client = Client(accepted, address, self._admission.give_back)
        self._admission.hold()
        try:
            self._welcome.receive(client, certificates)
        except BaseException as fault:
            self._lose_client(client, fault)

    def _start_attending(self, client: Client, work: Callable[[], Awaitable[None]]) -> None:
        self._connections.start_soon(self._attend, client, work)

    @trio.lowlevel.enable_ki_protection
    async def _attend(self, client: Client, work: Callable[[], Awaitable[None]]) -> None:
        """Do some work for a client that is not served yet, and see the client out after it."""
        try:
            await work()
        except trio.Cancelled:
            self._admission.count_refusal(client, Refused.CUT)
            raise
        except BaseException as fault:
            self._lose_client(client, fault)
        finally:
            if not client.is_served:
                client.leave()

    @trio.lowlevel.enable_ki_protection
    async def _serve(self, connection: SocketConnection, until_quiet: Socket | None) -> None:
        """Serve a connection by this task, until it has ended or may go to the lane."""
        quiet = False
        try:
            stream = stream_of(connection.socket, connection.keep_bound)
            task = ConnectionTask(connection, stream, until_quiet)
            self._tasks[connection] = task
            if self._draining:
                task.drain()
            quiet = await task.run()
        except trio.Cancelled:
            raise
        except BaseException as fault:
            self._lose(connection, fault)
        finally:
            self._tasks.pop(connection, None)
            if not quiet:
                connection.leave()
        if quiet:
            self._drive(connection)

    def _drive(self, connection: SocketConnection) -> None:
        """Have a connection that is quiet served by the lane, if there is one, or by a task."""
        try:
            connection.client.is_served = True
            if self._lane is None or not self._lane.enter(connection):
                self._start_task(connection, stay=True)
        except BaseException as fault:
            self._lose(connection, fault)

    def _start_task(self, connection: SocketConnection, *, stay: bool = False) -> None:
        """Have a connection served by a task, to `stay` there or to come back when it is quiet."""
        self._tasks[connection] = None
        until_quiet = None if stay or self._lane is None else connection.socket
        self._connections.start_soon(self._serve, connection, until_quiet)

    def _lose(self, connection: SocketConnection, fault: BaseException) -> None:
        """End a connection for which something was raised that must not be."""
        try:
            connection.count_end(Ended.INTERNAL_ERROR)
            self._tell(connection.peer, fault)
        finally:
            self._tasks.pop(connection, None)
            connection.leave()

    def _lose_client(self, client: Client, fault: BaseException) -> None:
        """End a client for which something was raised before it was served."""
        try:
            self._tell(peer_name(client.address), fault)
        finally:
            client.leave()

    def _tell(self, peer: str, fault: BaseException) -> None:
        """Log what was raised, as far as it can be."""
        try:
            self._faults.report(fault, {"peer": peer})
        except BaseException:  # it can't be shown, or there is no memory for that
            with suppress(BaseException):
                log.error("internal error on the connection of %(peer)s", {"peer": peer})  # noqa: TRY400

    def _dismiss(self, connection: SocketConnection) -> None:
        """End a connection that holds too much, whoever drives it."""
        task = self._tasks.get(connection)
        if task is not None:
            task.dismiss()
        elif connection not in self._tasks and self._lane is not None:
            self._lane.dismiss(connection)
        # Otherwise a task begins with it soon, and finds out.


def _with_room(buffers: Buffers, max_line: int) -> Buffers:
    """Return `buffers`, which are known to have room for a line of one client now."""
    if buffers.most < (least := least_buffered(max_line)):
        raise ValueError(
            f"buffers: got a bound of {buffers.most} bytes, expected at least {least} for lines of "
            f"{max_line}"
        )
    return buffers
