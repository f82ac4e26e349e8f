"""Drives all quiet connections from one task, which answers them in place.

In Trio, a task for each connection costs several times as much as answering a short line: for
every receive, the scheduler arms a descriptor, parks a task and wakes it again.  So all quiet
connections share one task.  It owns an epoll set of their sockets, with or without TLS, and waits
in Trio until the set is ready.  For each ready socket it then does what a task would have done:
receive, answer, send.  Listeners can be in the set too, because accepting through Trio costs
about as much.

The lane is an optimisation without behaviour of its own.  It handles "receive, answer, send all at
once" and a plain end of input.  Everything else goes to a task: a reply that the client doesn't
read, the close after an error line, a timeout, a shutdown.  The task hands the connection back
when it is quiet again.  The lines of a slow cipher go to a worker thread, and the connection leaves
the set until they are answered.

The lane needs Linux, where an epoll set is itself a descriptor that Trio can wait for.
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
else:  # there is no express lane here; see has_express_lane
    EPOLLIN = MSG_DONTWAIT = 0
    epoll: Any = None

__all__ = ["ExpressLane", "has_express_lane"]


def has_express_lane() -> bool:
    """Return whether this platform supports the express lane."""
    return sys.platform == "linux"


# The lane answers this many connections between two looks at the clock.  With short lines, that
# is half a millisecond's work.
_MOST_EVENTS = 64

# After this long, the program's other tasks get a turn, which costs as much as answering two
# lines.
_TURN_SECONDS = 0.001

# After a longer reply, the lane looks at the clock: coding it took long enough.
_LONG_REPLY = 16 * 1024

# With this flag on each call, a new connection needs no call to make its socket non-blocking.
_AT_ONCE = MSG_DONTWAIT

# The lane looks for timeouts ten times within the shortest timeout, and at least once a second.
# One look costs 0.1 µs for each connection; a timer for each connection would cost more with
# every line.
_LOOKS_PER_TIMEOUT = 10
_SECONDS_BETWEEN_LOOKS = 1.0

# After an error in the lane's own work, it tries again after this long.
_RETRY_SECONDS = 0.25


class ExpressLane:
    """Answers connections while they are quiet.

    Args:
      terms: what all connections share.
      hand_over: called with a connection that is no longer quiet; starts a task for it.
      fail: called with a connection and the exception raised for it; logs the exception, then
        ends and closes that connection.  No other connection is affected.
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
        self._coding: set[SocketConnection] = set()  # answered by worker threads
        self._listeners: dict[int, tuple[Callable[[], bool], trio.Event]] = {}
        self._open = trio.CancelScope()
        self._turn_ends = 0.0

    def __len__(self) -> int:
        """Return the number of connections in the lane."""
        return len(self._quiet) + len(self._coding)

    def __iter__(self) -> Iterator[SocketConnection]:
        """Yield the connections in the lane."""
        yield from self._quiet.values()
        yield from self._coding

    def enter(self, connection: SocketConnection) -> bool:
        """Take over a connection that has nothing left to send; return whether that worked.

        It fails when the system allows this user no more descriptors in epoll sets.  If the lane
        was cancelled, it cuts the connection at once, like all the others.
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
        """Call `accept` whenever a client waits, until it returns False; it must not raise.

        Raises:
          OSError: the system allows this user no more descriptors in epoll sets.
        """
        await trio.lowlevel.checkpoint_if_cancelled()  # a cancelled lane has closed its set
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
        """Hand over a dismissed connection, quiet or being coded; raise nothing."""
        try:
            if connection in self._coding:
                self._coding.discard(connection)
                self._forget_job(connection)  # the thread's replies are lost
                self._to_task(connection)
            elif self._quiet.get(connection.socket.fileno()) is connection:
                connection.session.drop()
                self._hand_over(connection)
        except BaseException as fault:
            self._fail(connection, fault)

    def drain(self) -> None:
        """Hand over all connections and let :meth:`run` return; nothing may enter afterwards.

        A connection with a job in a worker thread is handed over together with the job.
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

        Cancelling cuts all connections in the lane.
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

    # Ctrl-C is meant for the program and is raised elsewhere.  A KeyboardInterrupt in here comes
    # from a plugin.
    @trio.lowlevel.enable_ki_protection
    async def _forever(self, part: Callable[[], Awaitable[bool]]) -> None:
        """Repeat `part` until it returns False; log what it raises, and go on.

        Exceptions of a single connection are handled before they reach this.
        """
        goes_on = True
        while goes_on:
            try:
                goes_on = await part()
            except trio.Cancelled:
                raise
            except BaseException as fault:
                with suppress(BaseException):  # there may be no memory to log it
                    self._faults.report(fault)
                await trio.sleep(_RETRY_SECONDS)

    async def _answer_ready(self) -> bool:
        """Wait until connections are ready, and answer them until none is."""
        await trio.lowlevel.wait_readable(self._epoll.fileno())
        self._turn_ends = perf_counter() + _TURN_SECONDS
        while events := self._epoll.poll(0, _MOST_EVENTS):
            replies: list[tuple[SocketConnection, bytes]] = []
            try:
                await self._answer(events, replies)
            except trio.Cancelled:
                raise  # `run` cuts all connections
            except BaseException as fault:
                # These replies are lost, and their clients can't go on without them.
                for connection, _ in replies:
                    self._fail(connection, fault)
                raise
            await self._give_turn()
        return True

    async def _give_turn(self) -> None:
        """Give the program's other tasks a turn if ours is over."""
        if perf_counter() > self._turn_ends:
            await trio.lowlevel.checkpoint()
            self._turn_ends = perf_counter() + _TURN_SECONDS

    # A busy server spends its time in these two methods, so they avoid calls.  They first receive
    # and code for every ready connection, and then send: the same instructions run in a row, and
    # a client that the first reply wakes is still awake for the others.

    async def _answer(
        self, events: list[tuple[int, int]], replies: list[tuple[SocketConnection, bytes]]
    ) -> None:
        """Answer the connections of `events`; `replies` collects those that are not sent yet."""
        quiet, detector = self._quiet, self._terms.detector
        held: list[SocketConnection] = []  # may hold more or less memory than before
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
                    held.append(connection)  # perhaps part of a TLS record came
                    continue
                except SSLWantWriteError:
                    # TLS has to send something first, and the client doesn't read.
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
        """Send all `replies`, and empty the list."""
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
        """Count the memory of the connections in `held`, empty the list, and keep the limit.

        That may dismiss connections.  None is in the middle of an answer at this point.
        """
        for connection in held:
            if self._quiet.get(connection.socket.fileno()) is not connection:
                continue  # it has ended, or a task has it and counts it
            try:
                connection.count_held()
            except BaseException as fault:
                self._fail(connection, fault)
        held.clear()
        buffers = self._terms.buffers
        if buffers.bytes > buffers.most:
            buffers.relieve()

    def _code_elsewhere(self, connection: SocketConnection) -> None:
        """Let a worker thread answer the lines received; nothing more is received meanwhile."""
        connection.count_held()  # from here on, the session belongs to the thread
        descriptor = connection.socket.fileno()
        del self._quiet[descriptor]
        self._epoll.unregister(descriptor)
        self._coding.add(connection)
        connection.job = self._terms.workers.submit(connection, partial(self._coded, connection))
        if connection.job.finished:  # it was refused
            self._coded(connection, connection.job)

    def _coded(self, connection: SocketConnection, job: Job) -> None:
        """Go on with a connection for which a worker thread has replies."""
        if connection not in self._coding:
            return  # it was cut in the meantime
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
        """Go on with a connection as if it had been answered in place."""
        reply, connection.reply = connection.reply, b""
        if reply:
            self._send([(connection, reply)])
        elif connection.session.closed or connection.session.has_more:
            self._end_or_hand_over(connection)

    def _accept(self, descriptor: int) -> None:
        found = self._listeners.get(descriptor)
        if found is None:
            return  # the listener was closed, or the connection left, after the poll
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
        """Wait for the next look, and hand over the connections that have timed out."""
        limits = self._terms.limits
        shortest = min(limits.idle_timeout, limits.line_timeout)
        if shortest == inf:
            return False
        await trio.sleep(min(shortest / _LOOKS_PER_TIMEOUT, _SECONDS_BETWEEN_LOOKS))
        now = trio.current_time()
        # A connection that has received something since then is not idle.
        since = now - limits.idle_timeout
        for connection in [
            one
            for one in self._quiet.values()
            if one.waiting_since <= since or one.session.has_begun_line
        ]:
            try:
                # Input that waits in the socket came in time.
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
        """End and close a connection after an internal error."""
        self._coding.discard(connection)
        self._forget_job(connection)
        descriptor = connection.socket.fileno()
        if self._quiet.get(descriptor) is connection:
            del self._quiet[descriptor]
        self._failed(connection, fault)
