"""Decides what drives each connection: the express lane, which drives many, or its own task.

A connection **enters** here once it is admitted.  The lane **hands it over** to a task when it is
no longer quiet, and the task hands it back.  The driver **ends** the connection, which counts and
logs the reason, and **closes** it.  Each connection has its error boundary here: an exception
raised for one connection is logged, and ends only that connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import trio

from cipherecho.connections.connection import SocketConnection, Terms
from cipherecho.connections.connection_task import ConnectionTask
from cipherecho.connections.counters import Ended
from cipherecho.connections.express_lane import ExpressLane, has_express_lane
from cipherecho.connections.log_throttle import FailureLog
from cipherecho.network.sockets import Socket
from cipherecho.network.streams import stream_of

__all__ = ["Drivers"]

log = logging.getLogger("cipherecho")


class Drivers:
    """Drives the connections of a server.

    Args:
      terms: what all connections share.
      start: starts a task, given an async function and its arguments.
      express: whether to use an express lane, if the platform supports it.
    """

    def __init__(self, terms: Terms, start: Callable[..., Any], *, express: bool) -> None:
        self._start = start
        self.lane = (
            ExpressLane(terms, self._hand_over_to_task, self.fail)
            if express and has_express_lane()
            else None
        )
        """The express lane; None without one, and once the server drains."""
        # The task of each connection that has one; None until that task has started.
        self._tasks: dict[SocketConnection, ConnectionTask | None] = {}
        self._draining = False
        self._faults = FailureLog(
            "internal error on the connection of %(peer)s",
            "internal error again, on the connection of %(peer)s",
        )

    def __iter__(self) -> Iterator[SocketConnection]:
        """Yield all open connections."""
        yield from self._tasks
        if self.lane is not None:
            yield from self.lane

    def enter(self, connection: SocketConnection) -> None:
        """Start to drive a quiet connection, in the lane if there is one; raise nothing."""
        try:
            connection.client.is_served = True
            if self.lane is None or not self.lane.enter(connection):
                self._start_task(connection, until_quiet=None)
        except BaseException as fault:
            self.fail(connection, fault)

    def drain(self) -> None:
        """Drain all connections, including those that enter later: answer, end and close each."""
        self._draining = True
        for task in self._tasks.values():
            if task is not None:
                task.drain()
        if self.lane is not None:
            self.lane.drain()
            self.lane = None

    def dismiss(self, connection: SocketConnection) -> None:
        """End a connection that holds too much memory, whichever driver has it."""
        task = self._tasks.get(connection)
        if task is not None:
            task.dismiss()
        elif connection not in self._tasks and self.lane is not None:
            self.lane.dismiss(connection)
        # Otherwise its task is about to start, and sees that it is dismissed.

    def _hand_over_to_task(self, connection: SocketConnection) -> None:
        """Start a task for a connection; it hands the connection back to the lane when quiet."""
        self._start_task(connection, None if self.lane is None else connection.socket)

    def _start_task(self, connection: SocketConnection, until_quiet: Socket | None) -> None:
        self._tasks[connection] = None
        self._start(self._drive, connection, until_quiet)

    # Exceptions from the methods below and from the lane end in `fail`.

    @trio.lowlevel.enable_ki_protection
    async def _drive(self, connection: SocketConnection, until_quiet: Socket | None) -> None:
        """Drive a connection in this task until it ends or is quiet."""
        if connection not in self._tasks:
            return  # it failed and was closed before this task began
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
            self.fail(connection, fault)
        finally:
            self._tasks.pop(connection, None)
            if not quiet:
                connection.close()
        if quiet:
            self.enter(connection)

    def fail(self, connection: SocketConnection, fault: BaseException) -> None:
        """End and close a connection after an internal error."""
        try:
            connection.count_end(Ended.INTERNAL_ERROR)
            self.log_fault(connection.peer, fault)
        finally:
            self._tasks.pop(connection, None)
            connection.close()

    def log_fault(self, peer: str, fault: BaseException) -> None:
        """Log an exception raised for a client, as far as possible; raise nothing."""
        try:
            self._faults.report(fault, {"peer": peer})
        except BaseException:  # its repr fails, or there is no memory left
            with suppress(BaseException):
                log.error("internal error on the connection of %(peer)s", {"peer": peer})  # noqa: TRY400
