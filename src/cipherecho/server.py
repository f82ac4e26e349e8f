"""The server: listeners and connections in one nursery, limits, and shutdown.

Opening listeners, accepting and serving a connection are three things that can be had
apart; :func:`serve` joins them.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import trio

from cipherecho.chain import chain
from cipherecho.cipher import Cipher
from cipherecho.connection import PlainConnection, Terms
from cipherecho.connection_task import ConnectionTask, close_gently
from cipherecho.descriptors import descriptors_left
from cipherecho.endpoint import Endpoint
from cipherecho.express_lane import ExpressLane, has_express_lane
from cipherecho.limits import Limits
from cipherecho.listeners import endpoint_of
from cipherecho.pace import Pace
from cipherecho.printable import shown
from cipherecho.recurring import Failures, Seldom
from cipherecho.session import Reply, Reset, Session, error_line
from cipherecho.sockets import is_readable, peer_name, plain_listener

__all__ = ["MOST_REFUSALS", "serve"]

log = logging.getLogger("cipherecho")

# How many clients at once are told that the server is full; those after them wait
# in the backlog. It bounds what a flood of connections costs.
MOST_REFUSALS = 64

# How long a client that is refused may be silent before it is closed. It has seldom sent
# anything, so it is in little danger of a reset; and others wait to be told the same.
_REFUSAL_SECONDS = 0.25
_REFUSAL_SECONDS_AT_SHUTDOWN = 0.02

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
    listeners: Sequence[trio.SocketListener],
    cipher: Cipher,
    limits: Limits | None = None,
    *,
    reply: Reply = Reply.BOTH,
    reset: Reset = Reset.CONNECTION,
    express: bool = True,
    shutdown: trio.Event | None = None,
    task_status: trio.TaskStatus[list[Endpoint]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer the lines of whoever connects, until `shutdown` is set or the task is cancelled.

    In a program of your own::

        async with trio.open_nursery() as nursery, open_listeners(endpoints) as listeners:
            [endpoint] = await nursery.start(serve, listeners, Rot13())

    Args:
      listeners: where clients connect; the server's alone until this returns, and closed then.
      cipher: a cipher of any shape that the contract has; all connections share it.
      limits: what a client may take; the defaults of :class:`Limits` if None.
      reply: what a line is answered with.
      reset: where the cipher's state starts afresh.
      express: answer quiet connections by the express lane, where the platform has what it
        needs; clients see no difference but the speed.
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
                _Entrance(listener, stack.enter_context(plain_listener(listener)))
                for listener in listeners
            ]
            server = _Server(cipher, limits or Limits(), reply, reset, express=express)
            await server.run(entrances, trio.Event() if shutdown is None else shutdown, task_status)
        finally:
            for listener in listeners:
                await trio.aclose_forcefully(listener)


@dataclass
class _Entrance:
    """A listener, and a plain socket that accepts for it without waiting."""

    listener: trio.SocketListener
    plain: socket.socket
    error: OSError | None = None
    """Why it could not."""


class _Server:
    """What the tasks of one server share."""

    def __init__(
        self,
        cipher: Cipher,
        limits: Limits,
        reply: Reply,
        reset: Reset,
        *,
        express: bool,
    ) -> None:
        cipher = chain([cipher])
        self._limits = limits
        self._new = Session(cipher, reply=reply, reset=reset, max_line=limits.max_line)
        self._terms = Terms(
            limits, Pace(cipher), trio.CapacityLimiter(limits.max_workers), Failures().report
        )
        self._most = _affordable(limits.max_connections)
        self._places = _Places(self._most + MOST_REFUSALS)
        self._serving = 0  # counted when accepted, so that who came first is served
        self._lane = (
            ExpressLane(self._terms, self._start_task, self._over)
            if express and has_express_lane()
            else None
        )
        self._tasks: set[ConnectionTask] = set()
        self._draining = False
        self._exhausted = Seldom()
        self._full = Seldom()

    async def run(
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
            log.info("shutting down: connections=%(connections)d", {"connections": self._serving})
            self._drain()
            last = trio.current_time() + _MOST_ACCEPTING_SECONDS
            for entrance in entrances:
                while is_readable(entrance.plain) and trio.current_time() < last:
                    await self._accept(entrance)
                entrance.plain.close()
                await entrance.listener.aclose()
        if self._connections.cancel_scope.cancelled_caught:
            log.warning(
                "shutdown took longer than %(grace)g s: what was left was cut",
                {"grace": self._limits.grace},
            )

    def _drain(self) -> None:
        self._draining = True
        for task in self._tasks:
            task.drain()
        if self._lane is not None:
            self._lane.clear()
            self._lane = None

    async def _accept_forever(self, entrance: _Entrance) -> None:
        while True:
            await self._accept(entrance)

    async def _accept(self, entrance: _Entrance) -> None:
        """Accept whoever waits or comes next, or wait a little if the system can't."""
        await self._places.wait_for_one()
        if self._lane is None:
            await trio.lowlevel.wait_readable(entrance.listener.socket)
            self._accept_waiting(entrance)
        else:
            await self._lane.accept_from(entrance.plain, partial(self._accept_waiting, entrance))
        error, entrance.error = entrance.error, None
        if error is None:
            return
        if error.errno not in _EXHAUSTED:
            raise error
        self._exhausted.warn(f"can't accept connections for now: {error.strerror}")
        await trio.sleep(_RETRY_SECONDS)

    def _accept_waiting(self, entrance: _Entrance) -> bool:
        """Accept the connections that wait; return whether more can be accepted later.

        Accepting by Trio would cost a turn of its scheduler for each, so the plain socket is
        asked.
        """
        try:
            for _ in range(_MOST_ACCEPTED_AT_ONCE):
                if not self._places.free:
                    return False
                client, address = entrance.plain.accept()
                self._places.free -= 1
                self._welcome(client, address)
        except BlockingIOError:
            pass  # that were all
        except OSError as error:
            if error.errno not in _BROKEN_IN_BACKLOG:
                entrance.error = error
                return False
        return True

    def _welcome(self, client: socket.socket, address: object) -> None:
        """Have an accepted connection served or refused; it has a place."""
        if self._serving >= self._most:
            self._connections.start_soon(self._refuse, client)
            return
        self._serving += 1
        peer = peer_name(address)
        self._drive(PlainConnection(self._new.fresh(), self._terms, peer, client))

    def _drive(self, connection: PlainConnection) -> None:
        """Have a connection that is quiet served by the lane, if there is one, or by a task."""
        if self._lane is None or self._terms.pace.slow:
            self._start_task(connection)
            return
        try:
            self._lane.enter(connection)
        except OSError:  # the system allows no more descriptors in such a set
            self._connections.start_soon(self._serve, connection, None)

    def _start_task(self, connection: PlainConnection) -> None:
        until_quiet = None if self._lane is None else connection.socket
        self._connections.start_soon(self._serve, connection, until_quiet)

    # Ctrl-C is meant for the program, and arrives elsewhere; what looks like it in here is
    # a plugin's.
    @trio.lowlevel.enable_ki_protection
    async def _serve(self, connection: PlainConnection, until_quiet: socket.socket | None) -> None:
        """Serve a connection by this task, until it has ended or may go to the lane."""
        task = ConnectionTask(connection, _stream_of(connection.socket), until_quiet)
        self._tasks.add(task)
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
            log.error("a cipher broke its connection: %s", shown(type(error)))  # noqa: TRY400
        finally:
            self._tasks.discard(task)
            if not quiet:
                self._over(connection)
        if quiet:
            self._drive(connection)

    def _over(self, connection: PlainConnection) -> None:
        """Close a connection that has ended, and give its place back."""
        self._serving -= 1  # before its client sees the end, and may come again
        connection.socket.close()
        self._places.give_back()

    async def _refuse(self, client: socket.socket) -> None:
        """Tell a client that the server is full, and give its place back."""
        self._full.warn(f"refused a connection: {self._most} are served, which is the limit")
        try:
            message = f"the server is full, serving {self._most}; closing, try again later"
            silence = _REFUSAL_SECONDS_AT_SHUTDOWN if self._draining else _REFUSAL_SECONDS
            await close_gently(_stream_of(client), error_line(message), silence)
        except trio.BrokenResourceError:
            pass  # it went away by itself
        finally:
            client.close()
            self._places.give_back()


def _stream_of(client: socket.socket) -> trio.SocketStream:
    return trio.SocketStream(trio.socket.from_stdlib_socket(client))


def _affordable(wanted: int) -> int:
    """Return how many connections to serve at once, `wanted` at the most."""
    left = descriptors_left() - MOST_REFUSALS
    if wanted <= left:
        return wanted
    most = max(1, int(left))
    log.warning(
        "serving %(most)d connections at once, not %(wanted)d: the limit of open files "
        "(ulimit -n) leaves no more",
        {"most": most, "wanted": wanted},
    )
    return most


class _Places:
    """Counts how many connections may still be held, so that there are never more.

    A semaphore of Trio's costs several times as much, twice for each connection.
    """

    def __init__(self, number: int) -> None:
        self.free = number
        self._waiting = trio.lowlevel.ParkingLot()

    async def wait_for_one(self) -> None:
        while not self.free:
            await self._waiting.park()

    def give_back(self) -> None:
        self.free += 1
        if self._waiting:
            self._waiting.unpark_all()
