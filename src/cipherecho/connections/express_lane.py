"""All quiet connections driven by one task, which answers them in place.

A task for each connection costs a Trio program several times what answering a short line
costs: for every receive the scheduler arms a descriptor, parks a task and wakes it again.
So the connections of which nothing special is to be expected have one task together.  It
owns an epoll set of their sockets, plain or with TLS on them, waits in Trio until the set as
a whole is ready, and then does for each socket that is what a task would have done:
receive, answer, send.
Listeners can be in the set too, since a connection that comes and goes costs much the same.

The lane is an optimisation and has no behaviour of its own.  Whatever is not "receive,
answer, all sent at once", or a plain end, goes to a task: a reply that the client does not
take, what follows an error line, a time that is up, a shutdown.  The task hands the
connection back when it is quiet again.  What a slow cipher is to answer goes to a worker
thread, and the connection leaves the set for as long as that takes.

This is for Linux, where a set of descriptors is a descriptor itself, so that one can wait
for it like for any other.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from math import inf
from ssl import SSLWantWriteError
from time import perf_counter
from typing import Any

import trio

from cipherecho.connections.buffers import SMALL_BYTES
from cipherecho.connections.connection import SocketConnection, Terms, why_broken
from cipherecho.connections.counters import Ended
from cipherecho.connections.log_throttle import FailureLog
from cipherecho.connections.offload.workers import Job
from cipherecho.network.sockets import RECEIVE_BYTES, is_readable
from cipherecho.session import Closed

if sys.platform == "linux":
    from select import EPOLLIN, epoll
    from socket import MSG_DONTWAIT
else:  # nobody makes an express lane here; see has_express_lane
    EPOLLIN = MSG_DONTWAIT = 0
    epoll: Any = None

__all__ = ["ExpressLane", "has_express_lane"]


def has_express_lane() -> bool:
    """Return whether this platform has what the express lane needs."""
    return sys.platform == "linux"


# So many connections are answered between two looks at the clock, half a millisecond's work,
# if their lines are short.
_MOST_EVENTS = 64

# After so long the program's other tasks have their turn, which costs as much as
# answering two lines.
_TURN_SECONDS = 0.001

# A longer reply took long enough to look at the clock after it.
_LONG_REPLY = 16 * 1024

# Asking for this with each call spares a call for each connection that comes.
_AT_ONCE = MSG_DONTWAIT

# Whose time is up is looked for that often: a tenth of the shortest time, and a second at
# the most. A look costs a tenth of a microsecond for each connection; a timer for each
# would cost more with every line.
_LOOKS_PER_TIMEOUT = 10
_SECONDS_BETWEEN_LOOKS = 1.0

# What of the lane's own work has failed is done again after so long.
_RETRY_SECONDS = 0.25


class ExpressLane:
    """Answers connections as long as they are quiet.

    Args:
      terms: what holds for all connections.
      hand_over: called with a connection that is quiet no more; a task is to drive it then.
      fail: called with a connection, and what was raised by what was done for it; logs that,
        ends the connection and closes it.  No other connection is the worse for it.
    """

    def __init__(
        self,
        terms: Terms,
        hand_over: Callable[[SocketConnection], None],
        fail: Callable[[SocketConnection, BaseException], None],
    ) -> None:
        self._terms = terms
        self._to_task = hand_over
        self._failed = fail
        self._faults = FailureLog("internal error in the express lane", "internal error again")
        self._epoll = epoll()
        self._quiet: dict[int, SocketConnection] = {}  # by descriptor
        self._coding: set[SocketConnection] = set()  # those that a worker thread answers
        self._listeners: dict[int, tuple[Callable[[], bool], trio.Event]] = {}
        self._open = trio.CancelScope()
        self._turn_ends = 0.0

    def __len__(self) -> int:
        """Return how many connections are in the lane."""
        return len(self._quiet) + len(self._coding)

    def __iter__(self) -> Iterator[SocketConnection]:
        """Return the connections that are in the lane."""
        yield from self._quiet.values()
        yield from self._coding

    def enter(self, connection: SocketConnection) -> bool:
        """Take a connection that has nothing left to be sent; return whether that could be.

        It can't if the system lets this user have no more descriptors in sets.  The connection
        is over at once if the lane was cancelled, as all connections were then.
        """
        if self._epoll.closed:
            self._cut(connection)
            return True
        descriptor = connection.socket.fileno()
        try:
            self._epoll.register(descriptor, EPOLLIN)
        except OSError:
            return False
        self._quiet[descriptor] = connection
        return True

    async def accept_from(self, listener: socket.socket, accept: Callable[[], bool]) -> None:
        """Have `accept`, which raises nothing, called when somebody waits, until it returns False.

        Raises:
          OSError: the system lets this user have no more descriptors in sets.
        """
        await trio.lowlevel.checkpoint_if_cancelled()  # or the set may be closed already
        stopped = trio.Event()
        descriptor = listener.fileno()
        self._epoll.register(descriptor, EPOLLIN)
        self._listeners[descriptor] = accept, stopped
        try:
            await stopped.wait()
        finally:
            if self._listeners.pop(descriptor, None) and not self._epoll.closed:
                self._epoll.unregister(descriptor)

    def dismiss(self, connection: SocketConnection) -> None:
        """Hand over a connection that is dismissed, wherever in the lane it is; raise nothing."""
        try:
            if connection in self._coding:
                self._coding.discard(connection)
                self._forget_job(connection)  # and whatever the thread returns is lost
                self._to_task(connection)
            elif self._quiet.get(connection.socket.fileno()) is connection:
                connection.session.drop()
                self._hand_over(connection)
        except BaseException as fault:
            self._fail(connection, fault)

    def drain(self) -> None:
        """Hand over all connections; nothing may enter any more, and :meth:`run` returns.

        A connection that a worker thread answers is handed over with its job.
        """
        for connection in list(self._quiet.values()):
            try:
                self._hand_over(connection)
            except BaseException as fault:
                self._fail(connection, fault)
        coding, self._coding = self._coding, set()
        for connection in coding:
            try:
                self._to_task(connection)
            except BaseException as fault:
                self._fail(connection, fault)
        self._open.cancel()

    async def run(self) -> None:
        """Answer connections until :meth:`drain` or cancellation.

        When it is cancelled, those in the lane are over.
        """
        try:
            with self._open:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._forever, self._answer_ready)
                    nursery.start_soon(self._forever, self._look_for_timeouts)
        finally:
            self._epoll.close()
            for connection in list(self):
                try:
                    self._cut(connection)
                except BaseException as fault:
                    self._failed(connection, fault)
            self._quiet.clear()
            self._coding.clear()

    # Ctrl-C is meant for the program, and arrives elsewhere; what looks like it in here is
    # a plugin's.
    @trio.lowlevel.enable_ki_protection
    async def _forever(self, part: Callable[[], Awaitable[bool]]) -> None:
        """Do a part of the lane's work until it says that there is none, whatever it raises.

        What is raised by what is done for one connection does not come this far.
        """
        goes_on = True
        while goes_on:
            try:
                goes_on = await part()
            except trio.Cancelled:
                raise
            except BaseException as fault:
                with suppress(BaseException):  # there may be no memory to tell it
                    self._faults.report(fault)
                await trio.sleep(_RETRY_SECONDS)

    async def _answer_ready(self) -> bool:
        """Wait for connections that are ready, and answer them as long as there are some."""
        await trio.lowlevel.wait_readable(self._epoll.fileno())
        self._turn_ends = perf_counter() + _TURN_SECONDS
        while events := self._epoll.poll(0, _MOST_EVENTS):
            replies: list[tuple[SocketConnection, bytes]] = []
            try:
                await self._answer(events, replies)
            except trio.Cancelled:
                raise  # all are over
            except BaseException as fault:
                # What was to be sent is lost, and its clients can't go on without it.
                for connection, _ in replies:
                    self._fail(connection, fault)
                raise
            await self._give_turn()
        return True

    async def _give_turn(self) -> None:
        """Let the program's other tasks have their turn, if ours is over."""
        if perf_counter() > self._turn_ends:
            await trio.lowlevel.checkpoint()
            self._turn_ends = perf_counter() + _TURN_SECONDS

    # A busy server does little but what these two do, so they spare calls. First all that
    # is ready is received, then it is answered: the same code runs in a row, and a client
    # that is woken by the first reply is still awake for the others.

    async def _answer(
        self, events: list[tuple[int, int]], replies: list[tuple[SocketConnection, bytes]]
    ) -> None:
        """Answer the connections of `events`; `replies` are those that are still to be sent."""
        quiet, detector = self._quiet, self._terms.detector
        held: list[SocketConnection] = []  # those that may hold something else than before
        now = trio.current_time()
        for descriptor, _ in events:
            connection = quiet.get(descriptor)
            if connection is None:
                self._accept(descriptor)
                continue
            try:
                session = connection.session
                try:
                    data = connection.socket.recv(RECEIVE_BYTES, _AT_ONCE)
                except BlockingIOError:
                    held.append(connection)  # part of a record came, perhaps
                    continue
                except SSLWantWriteError:
                    # Something that the client does not take has to be sent first.
                    self._hand_over(connection)
                    continue
                except OSError as error:
                    self._end(connection, why_broken(error))
                    continue
                connection.waiting_since = now
                size = len(data)
                connection.received += size
                reply = detector.receive(session, data)
                if reply:
                    replies.append((connection, reply))
                    if size > SMALL_BYTES or connection.counted:
                        held.append(connection)
                elif session.has_more:
                    self._code_elsewhere(connection)
                elif session.closed:
                    self._end_or_hand_over(connection)
                else:
                    held.append(connection)
            except BaseException as fault:
                self._fail(connection, fault)
                continue
            took_time = len(reply) > _LONG_REPLY or not detector.never_slow
            if took_time and reply and perf_counter() > self._turn_ends:
                self._send(replies)
                self._count(held)
                await self._give_turn()
                now = trio.current_time()
        self._send(replies)
        self._count(held)

    def _send(self, replies: list[tuple[SocketConnection, bytes]]) -> None:
        """Send `replies`, and leave none in it."""
        for connection, reply in replies:
            try:
                try:
                    sent = connection.socket.send(reply, _AT_ONCE)
                except BlockingIOError:
                    sent = 0
                except OSError as error:
                    self._end(connection, why_broken(error))
                    continue
                connection.sent += sent
                if sent < len(reply):
                    connection.reply = reply[sent:]
                    connection.is_in_reply = True
                    self._hand_over(connection)
                elif connection.session.closed or connection.session.has_more:
                    self._end_or_hand_over(connection)
            except BaseException as fault:
                self._fail(connection, fault)
        replies.clear()

    def _count(self, held: list[SocketConnection]) -> None:
        """Count what these hold now, and leave none of them in it; dismiss who holds too much.

        Nobody is in the midst of being answered then.
        """
        for connection in held:
            if self._quiet.get(connection.socket.fileno()) is not connection:
                continue  # it has ended or is a task's by now, which counts it
            try:
                connection.count_held()
            except BaseException as fault:
                self._fail(connection, fault)
        held.clear()
        buffers = self._terms.buffers
        if buffers.bytes > buffers.most:
            buffers.relieve()

    def _code_elsewhere(self, connection: SocketConnection) -> None:
        """Have a worker thread answer what came, while nothing else may come."""
        connection.count_held()  # for the session is the thread's from then on
        descriptor = connection.socket.fileno()
        del self._quiet[descriptor]
        self._epoll.unregister(descriptor)
        self._coding.add(connection)
        connection.job = self._terms.workers.submit(connection, partial(self._coded, connection))
        if connection.job.finished:  # it was refused
            self._coded(connection, connection.job)

    def _coded(self, connection: SocketConnection, job: Job) -> None:
        """Go on with a connection for which a worker thread has something."""
        if connection not in self._coding:
            return  # it was cut meanwhile
        try:
            self._coding.discard(connection)
            connection.waiting_since = trio.current_time()
            if not job.finished:
                self._to_task(connection)  # with the job
                return
            connection.job = None
            connection.reply = job.take()
            if self.enter(connection):
                self._send_coded(connection)
                self._count([connection])
            else:
                self._to_task(connection)
        except BaseException as fault:
            self._fail(connection, fault)

    def _send_coded(self, connection: SocketConnection) -> None:
        """Go on with a connection as though it had been answered in place."""
        reply, connection.reply = connection.reply, b""
        if reply:
            self._send([(connection, reply)])
        elif connection.session.closed or connection.session.has_more:
            self._end_or_hand_over(connection)

    def _accept(self, descriptor: int) -> None:
        found = self._listeners.get(descriptor)
        if found is None:
            return  # it was closed, or its connection left, since the set was asked
        accept, stopped = found
        if not accept():
            del self._listeners[descriptor]
            self._epoll.unregister(descriptor)
            stopped.set()

    def _end_or_hand_over(self, connection: SocketConnection) -> None:
        if connection.session.closed is Closed.END_OF_INPUT:
            self._end(connection, Ended.END_OF_INPUT)
        else:
            self._hand_over(connection)

    async def _look_for_timeouts(self) -> bool:
        """Wait for the next look, and hand over those whose time is up."""
        limits = self._terms.limits
        shortest = min(limits.idle_timeout, limits.line_timeout)
        if shortest == inf:
            return False
        await trio.sleep(min(shortest / _LOOKS_PER_TIMEOUT, _SECONDS_BETWEEN_LOOKS))
        now = trio.current_time()
        # Since when nothing came, at the least, if the time is up.
        since = now - limits.idle_timeout
        for connection in [
            one
            for one in self._quiet.values()
            if one.waiting_since <= since or one.session.has_begun_line
        ]:
            try:
                # What has come is in time, even if it was not its turn yet.
                if connection.input_deadline() <= now and not is_readable(connection.socket):
                    self._hand_over(connection)
            except BaseException as fault:
                self._fail(connection, fault)
        return True

    def _hand_over(self, connection: SocketConnection) -> None:
        descriptor = connection.socket.fileno()
        del self._quiet[descriptor]
        self._epoll.unregister(descriptor)
        self._to_task(connection)

    def _end(self, connection: SocketConnection, reason: Ended) -> None:
        connection.end(reason)
        del self._quiet[connection.socket.fileno()]
        connection.close()

    def _cut(self, connection: SocketConnection) -> None:
        connection.end(Ended.CUT)
        self._forget_job(connection)
        connection.close()

    @staticmethod
    def _forget_job(connection: SocketConnection) -> None:
        if connection.job is not None:
            connection.job.abandon()
            connection.job = None

    def _fail(self, connection: SocketConnection, fault: BaseException) -> None:
        """End and close a connection for which something was raised that must not be."""
        self._coding.discard(connection)
        self._forget_job(connection)
        descriptor = connection.socket.fileno()
        if self._quiet.get(descriptor) is connection:
            del self._quiet[descriptor]
        self._failed(connection, fault)
