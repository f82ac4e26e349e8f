"""The server: one nursery for all clients, from the first until the shutdown.

:func:`serve` joins four modules: :mod:`~cipherecho.network.listeners` opens sockets,
:mod:`~cipherecho.server.accepting` accepts clients, :mod:`~cipherecho.server.welcome` admits or
refuses them, and :mod:`~cipherecho.connections.drivers` drives their connections.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial

import trio

from cipherecho.cipher import Cipher
from cipherecho.ciphers.composition import chain
from cipherecho.connections.buffers import Buffers, least_buffered
from cipherecho.connections.connection import Terms
from cipherecho.connections.counters import Counters
from cipherecho.connections.drivers import Drivers
from cipherecho.connections.log_throttle import FailureLog, LogThrottle
from cipherecho.connections.offload.slow_ciphers import SlowCipherDetector
from cipherecho.connections.offload.workers import Workers
from cipherecho.network.listeners import ListeningSocket
from cipherecho.server.accepting import Acceptor
from cipherecho.server.admission import Admission
from cipherecho.server.capacity import Capacity
from cipherecho.server.welcome import Welcome
from cipherecho.session import ReplyMode, Session, StateScope
from cipherecho.settings.endpoint import Endpoint
from cipherecho.settings.limits import Limits
from cipherecho.settings.trusted_proxies import TrustedProxies

__all__ = ["serve"]

log = logging.getLogger("cipherecho")

# How long a shutdown accepts connections from the backlog: enough for a full backlog, and an end to
# a flood of new ones.
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
    capacity: Capacity | None = None,
    shutdown: trio.Event | None = None,
    task_status: trio.TaskStatus[list[Endpoint]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve all clients, until `shutdown` is set or the task is cancelled.

    In a program of your own::

        async with trio.open_nursery() as nursery, open_listeners(endpoints) as listeners:
            [endpoint] = await nursery.start(serve, listeners, Rot13())

    Args:
      listeners: where clients connect.  The server owns them, and closes them when it returns.
        With certificates, clients begin with a TLS handshake.
      cipher: a cipher of any shape; all connections share it.
      limits: the limits for clients; by default, those of :class:`Limits`.
      reply: what to send for each line.
      reset: when to reset the cipher's state.
      proxies: the peers that must send a PROXY header, before TLS; by default, none.
      express: serve quiet connections in the express lane, if the platform supports it.  Clients
        notice only the speed.
      log_empty: log the end of every connection, even without a byte in either direction.
      counters: counts connections, for monitoring.
      buffers: limits the memory that connections hold.  To share one limit, pass the same object to
        several servers of a process.  By default, this server has 64 MiB of its own.
      capacity: limits the connections to the process's descriptors.  To share them, pass the same
        object to several servers.  By default, this server may use all that are free now.
      shutdown: when it is set, the server accepts the clients in the backlog and no more, answers
        every complete line that it has received, closes its connections, and returns within
        ``limits.grace`` seconds.  Cancellation ends this at once.
      task_status: started with the endpoints of `listeners`, in order, with the real ports.

    Raises:
      NotACipherError: `cipher` has none of the contract's shapes.
      ValueError: the limit of `buffers` is too small for one line of one client.

    Errors of connections are never raised.  When accepting fails, that is logged and tried again.
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
            capacity or Capacity([limits.max_connections]),
            express=express,
            log_empty=log_empty,
        )
        await server.run(listeners, trio.Event() if shutdown is None else shutdown, task_status)
    finally:
        for listener in listeners:
            listener.socket.close()


class _Server:
    """The state that the tasks of one server share."""

    def __init__(
        self,
        cipher: Cipher,
        limits: Limits,
        reply: ReplyMode,
        reset: StateScope,
        proxies: TrustedProxies,
        counters: Counters,
        buffers: Buffers,
        capacity: Capacity,
        *,
        express: bool,
        log_empty: bool,
    ) -> None:
        self._limits = limits
        self._counters = counters
        failures = FailureLog(
            "the cipher failed; this is a bug of its plugin", "the cipher failed again"
        )
        detector = SlowCipherDetector(cipher)
        self._workers = Workers(limits, detector, counters)
        terms = Terms(
            limits,
            detector,
            self._workers,
            report=failures.report,
            counters=counters,
            log_empty=log_empty,
            buffers=buffers,
            dismiss=lambda connection: self._drivers.dismiss(connection),
        )
        self._drivers = Drivers(terms, self._start, express=express)
        self._admission = Admission(limits, capacity.share(limits.max_connections), counters)
        self._welcome = Welcome(
            Session(cipher, reply=reply, reset=reset, max_line=limits.max_line),
            terms,
            proxies,
            self._admission,
            self._drivers,
            self._start,
        )
        self._throttle = LogThrottle()
        counters.open = self._drivers.__iter__

    async def run(
        self,
        listeners: Sequence[ListeningSocket],
        shutdown: trio.Event,
        task_status: trio.TaskStatus[list[Endpoint]],
    ) -> None:
        with ExitStack() as stack:
            stack.callback(self._workers.close)
            acceptors = [stack.enter_context(closing(self._acceptor(one))) for one in listeners]
            async with trio.open_nursery() as self._connections:
                if self._drivers.lane is not None:
                    self._start(self._drivers.lane.run)
                async with trio.open_nursery() as accepting:
                    for acceptor in acceptors:
                        accepting.start_soon(acceptor.run)
                    task_status.started([listener.endpoint for listener in listeners])
                    await shutdown.wait()
                    accepting.cancel_scope.cancel()
                await self._shut_down(acceptors)
        if self._connections.cancel_scope.cancelled_caught:
            log.warning(
                "shutdown took longer than %(grace)g s: the remaining connections were cut",
                {"grace": self._limits.grace},
            )

    async def _shut_down(self, acceptors: Sequence[Acceptor]) -> None:
        """Accept the waiting clients, then no more; all connections end within the grace time."""
        self._connections.cancel_scope.deadline = trio.current_time() + self._limits.grace
        log.info(
            "shutting down: connections=%(connections)d", {"connections": self._counters.serving}
        )
        self._welcome.drain()
        self._drivers.drain()
        last = trio.current_time() + _MOST_ACCEPTING_SECONDS
        for acceptor in acceptors:
            await acceptor.accept_last(last)
            acceptor.close()
            acceptor.listening.socket.close()

    def _acceptor(self, listening: ListeningSocket) -> Acceptor:
        return Acceptor(
            listening,
            partial(self._welcome.greet, listening.certificates),
            self._cannot_accept,
            self._admission,
            self._drivers.lane,
        )

    def _cannot_accept(self, problem: str) -> None:
        self._throttle.warn("can't accept connections for now: %(problem)s", {"problem": problem})

    def _start(self, task: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Start a task for a client; at shutdown, it is cancelled after the grace time."""
        self._connections.start_soon(task, *arguments)


def _with_room(buffers: Buffers, max_line: int) -> Buffers:
    """Return `buffers`, after checking that one line of one client fits."""
    if buffers.most < (least := least_buffered(max_line)):
        raise ValueError(
            f"buffers: got a bound of {buffers.most} bytes, expected at least {least} for lines of "
            f"{max_line}"
        )
    return buffers
