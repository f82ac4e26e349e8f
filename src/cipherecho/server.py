"""The server: listeners and connections in one nursery, limits, and shutdown.

Opening listeners, accepting and serving a connection are three things that can be had
apart; :func:`serve` joins them.
"""

from __future__ import annotations

import errno
import logging
import traceback
from collections.abc import Sequence
from math import inf

import trio

from cipherecho.chain import chain
from cipherecho.cipher import Cipher
from cipherecho.connection import Connection, close_gently, peer_of
from cipherecho.descriptors import descriptors_left
from cipherecho.endpoint import Endpoint
from cipherecho.limits import Limits
from cipherecho.listeners import endpoint_of, has_backlog
from cipherecho.printable import shown
from cipherecho.session import Reply, Reset, Session, error_line

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

# When the system has no descriptors left, accepting is tried again after so long.
_RETRY_SECONDS = 0.25

# What the system has run out of then.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

# What can happen over and over is told at most once in so long.
_SECONDS_BETWEEN_RECORDS = 1.0


async def serve(
    listeners: Sequence[trio.SocketListener],
    cipher: Cipher,
    limits: Limits | None = None,
    *,
    reply: Reply = Reply.BOTH,
    reset: Reset = Reset.CONNECTION,
    shutdown: trio.Event | None = None,
    task_status: trio.TaskStatus[list[Endpoint]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer the lines of whoever connects, until `shutdown` is set or the task is cancelled.

    In a program of your own::

        async with trio.open_nursery() as nursery, open_listeners(endpoints) as listeners:
            [endpoint] = await nursery.start(serve, listeners, Rot13())

    Args:
      listeners: where clients connect; closed before this returns.
      cipher: a cipher of any shape that the contract has; all connections share it.
      limits: what a client may take; the defaults of :class:`Limits` if None.
      reply: what a line is answered with.
      reset: where the cipher's state starts afresh.
      shutdown: when it is set, the server accepts what waits in the backlog and no more,
        answers every complete line that it has received, closes its connections, and
        returns within ``limits.grace`` seconds.  Cancelling cuts all of this short.
      task_status: started with the endpoints of `listeners`, in their order, with the
        ports that the system picked.

    Raises:
      NotACipherError: `cipher` has none of the contract's shapes.
      ExceptionGroup: a listener broke, of the OSError or ClosedResourceError that says
        so.  What happens to a connection is never raised.
    """
    try:
        server = _Server(cipher, limits or Limits(), reply, reset, len(listeners))
        await server.run(listeners, trio.Event() if shutdown is None else shutdown, task_status)
    finally:
        for listener in listeners:
            await trio.aclose_forcefully(listener)


class _Server:
    """What the tasks of one server share."""

    def __init__(
        self, cipher: Cipher, limits: Limits, reply: Reply, reset: Reset, listeners: int
    ) -> None:
        self._cipher = chain([cipher])
        self._limits = limits
        self._reply = reply
        self._reset = reset
        self._most = _affordable(limits.max_connections)
        # Taken before a connection is accepted, so that the process never holds more; a
        # listener where nobody connects has taken one too.
        self._slots = trio.Semaphore(self._most + MOST_REFUSALS + listeners)
        self._serving = 0  # counted when accepted, so that who came first is served
        self._connections: set[Connection] = set()
        self._draining = False
        self._failures = _Failures()
        self._exhausted = _Seldom()
        self._full = _Seldom()

    async def run(
        self,
        listeners: Sequence[trio.SocketListener],
        shutdown: trio.Event,
        task_status: trio.TaskStatus[list[Endpoint]],
    ) -> None:
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(self._accept_forever, listener, connections)
                task_status.started([endpoint_of(listener) for listener in listeners])
                await shutdown.wait()
                accepting.cancel_scope.cancel()
            connections.cancel_scope.deadline = trio.current_time() + self._limits.grace
            log.info("shutting down: connections=%(connections)d", {"connections": self._serving})
            self._draining = True
            for connection in self._connections:
                connection.drain()
            last = trio.current_time() + _MOST_ACCEPTING_SECONDS
            for listener in listeners:
                while has_backlog(listener) and trio.current_time() < last:
                    await self._accept(listener, connections)
                await listener.aclose()
        if connections.cancel_scope.cancelled_caught:
            log.warning(
                "shutdown took longer than %(grace)g s: what was left was cut",
                {"grace": self._limits.grace},
            )

    async def _accept_forever(self, listener: trio.SocketListener, into: trio.Nursery) -> None:
        while True:
            await self._accept(listener, into)

    async def _accept(self, listener: trio.SocketListener, into: trio.Nursery) -> None:
        """Accept one connection into a nursery, or wait a little if the system can't."""
        await self._slots.acquire()
        try:
            stream = await listener.accept()
        except OSError as error:
            self._slots.release()
            if error.errno not in _EXHAUSTED:
                raise
            self._exhausted.warn(f"can't accept connections for now: {error.strerror}")
            await trio.sleep(_RETRY_SECONDS)
        except BaseException:
            self._slots.release()
            raise
        else:
            if self._serving < self._most:
                self._serving += 1
                into.start_soon(self._serve, stream)
            else:
                into.start_soon(self._refuse, stream)

    # Ctrl-C is meant for the program, and arrives elsewhere; what looks like it in here is
    # a plugin's.
    @trio.lowlevel.enable_ki_protection
    async def _serve(self, stream: trio.SocketStream) -> None:
        """Serve an accepted connection, and give its place back."""
        connection: Connection | None = None
        try:
            session = Session(
                self._cipher, reply=self._reply, reset=self._reset, max_line=self._limits.max_line
            )
            connection = Connection(
                stream, session, self._limits, peer_of(stream), self._failures.report
            )
            self._connections.add(connection)
            if self._draining:
                connection.drain()
            await connection.run()
        except trio.Cancelled:
            raise
        except BaseException as error:
            # A cipher that fails even at being asked what it is, or an exception of its
            # own that can't be shown: nothing of it is looked at any further.
            log.error("a cipher broke its connection: %s", shown(type(error)))  # noqa: TRY400
        finally:
            if connection is not None:
                self._connections.discard(connection)
            self._serving -= 1  # before its client sees the end, and may come again
            await trio.aclose_forcefully(stream)
            self._slots.release()

    async def _refuse(self, stream: trio.SocketStream) -> None:
        """Tell a client that the server is full, and give its place back."""
        self._full.warn(f"refused a connection: {self._most} are served, which is the limit")
        try:
            message = f"the server is full, serving {self._most}; closing, try again later"
            silence = _REFUSAL_SECONDS_AT_SHUTDOWN if self._draining else _REFUSAL_SECONDS
            await close_gently(stream, error_line(message), silence)
        except trio.BrokenResourceError:
            pass  # it went away by itself
        finally:
            await trio.aclose_forcefully(stream)
            self._slots.release()


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


class _Seldom:
    """Warns at most once in a while of what strangers can bring about at will."""

    def __init__(self) -> None:
        self._next = -inf
        self._untold = 0

    def warn(self, message: str) -> None:
        now = trio.current_time()
        if now < self._next:
            self._untold += 1
            return
        more = f" ({self._untold} times more since the last such record)" if self._untold else ""
        log.warning("%s%s", message, more)
        self._next = now + _SECONDS_BETWEEN_RECORDS
        self._untold = 0


class _Failures:
    """Logs what faulty ciphers raise, each with its traceback once."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str, int]] = set()
        self._again = _Seldom()

    def report(self, failure: BaseException) -> None:
        file, line = "", 0
        for frame, number in traceback.walk_tb(failure.__traceback__):
            file, line = frame.f_code.co_filename, number
        kind = (type(failure).__name__, file, line)
        if kind in self._known:
            self._again.warn(f"the cipher failed again, as above: {kind[0]} at {file}:{line}")
            return
        self._known.add(kind)
        log.error("the cipher failed; this is a bug of its plugin", exc_info=failure)
