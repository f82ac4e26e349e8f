"""A connection driven by a task of its own, on any stream and on every platform.

The task passes bytes between a stream and a session, and keeps the deadlines.  Every usual end of
a connection is handled here: a reset, a timeout and a faulty cipher each write one record to the
log.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from math import inf
from time import perf_counter

import trio

from cipherecho.connections.connection import Connection, why_broken
from cipherecho.connections.counters import Ended
from cipherecho.network.sockets import RECEIVE_BYTES, Socket, is_readable
from cipherecho.network.streams import close_gently
from cipherecho.session import Closed

__all__ = ["ConnectionTask"]

# At shutdown, a connection that receives nothing for this long counts as idle: long enough for
# bytes that are in flight on a local network.
_QUIET_SECONDS = 0.05

# At shutdown, the server reads for this long from a client that never pauses.
_LAST_CALL_SECONDS = 0.5


# Replies of several turns are sent together until they reach this size or take this long.  One
# send a turn would cost 2 % more, and nobody notices a delay this short.
_SENT_AT_ONCE_BYTES = 1 << 18
_SENT_AT_ONCE_SECONDS = 0.02


class _State(Enum):
    """What the task is doing, which says what a passed deadline means."""

    RECEIVING = "receiving"
    CODING = "coding"  # has no deadline: the client is not to blame
    SENDING = "sending"


class _Next(Enum):
    """What happens to the connection next."""

    GO_ON = "there is more to do"
    HAND_OVER = "it is quiet; the lane waits for its next input"
    END = "something has ended it"


class ConnectionTask:
    """Serves one client until either side ends the connection, or until it is quiet.

    Args:
      connection: the connection's session and state.
      stream: carries the client's bytes.  The caller closes it after :meth:`run` has returned.
      until_quiet: the socket below the stream.  If given, :meth:`run` returns as soon as every
        reply is sent and the socket has nothing to read; the caller then waits for more input.
    """

    def __init__(
        self,
        connection: Connection,
        stream: trio.abc.Stream,
        until_quiet: Socket | None = None,
    ) -> None:
        self._connection = connection
        self._terms = connection.terms
        self._stream = stream
        self._until_quiet = until_quiet
        # One scope with a moving deadline: a new scope for each receive and send would halve
        # the throughput.
        self._scope = trio.CancelScope()
        self._state = _State.RECEIVING
        self._last_call = inf  # set when draining
        self._data: bytes | None = None  # received, not coded yet; b"" at the end of input

    async def run(self) -> bool:
        """Serve the client; return True if the connection is quiet, False if it has ended.

        Logs why the connection ended.  Raises only what must never happen; the connection has
        ended then too.  Cancelling cuts the connection and loses unsent replies.
        """
        try:
            reason = await self._converse()
        except trio.BrokenResourceError as error:
            reason = why_broken(error.__cause__)
        except trio.Cancelled:
            self._connection.end(Ended.CUT)
            raise
        finally:
            if self._connection.job is not None:
                self._connection.job.abandon()
                self._connection.job = None
        if reason is not None:
            self._connection.end(reason)
        return reason is None

    def drain(self) -> None:
        """Answer the lines received so far, then close; the connection ends soon after."""
        now = trio.current_time()
        self._last_call = min(self._last_call, now + _LAST_CALL_SECONDS)
        if self._state is _State.RECEIVING:
            self._scope.deadline = min(self._scope.deadline, now + _QUIET_SECONDS)

    def dismiss(self) -> None:
        """Stop whatever the task waits for: the connection has been dismissed."""
        if self._connection.job is None:  # otherwise the session belongs to a thread
            self._connection.session.drop()
        self._scope.cancel()

    async def _converse(self) -> Ended | None:
        """Exchange lines; return why the connection ended, or None if it is quiet."""
        outcome = _Next.GO_ON
        while outcome is _Next.GO_ON and not self._connection.is_dismissed:
            with trio.CancelScope() as self._scope:
                outcome = await self._exchange()
            if self._scope.cancelled_caught:
                break
        if self._connection.is_dismissed:
            await self._see_off()
            return Ended.BUFFERS_FULL
        if outcome is _Next.HAND_OVER:
            return None
        if outcome is _Next.GO_ON and self._state is _State.SENDING:
            return Ended.WRITE_TIMEOUT
        session = self._connection.session
        if session.closed is Closed.END_OF_INPUT:
            return Ended.END_OF_INPUT
        if session.closed is not None:  # its error line is sent
            await close_gently(self._stream)
            return Ended(session.closed)
        if self._last_call < inf:
            await close_gently(self._stream)
            return Ended.SHUTDOWN
        reason, message = self._connection.why_input_ended()
        last_words = session.close(message)
        self._connection.sent += len(last_words)
        await close_gently(self._stream, last_words)
        return reason

    async def _see_off(self) -> None:
        """Send a dismissed client the reason, unless half a reply has been sent."""
        self._data = None
        if not self._connection.is_in_reply:
            with suppress(trio.BrokenResourceError):
                await close_gently(self._stream, self._connection.dismissal())

    async def _exchange(self) -> _Next:
        """Receive, code and send in turn; return what happens next.

        ``GO_ON`` means that the deadline passed at the moment when the awaited event came.  The
        event was in time, so the exchange goes on in a new scope.
        """
        connection = self._connection
        while not self._scope.cancel_called:
            session = connection.session  # may have been replaced since the last round
            self._state = _State.RECEIVING
            connection.keep_bound(self._data or b"")
            if connection.is_dismissed:
                break
            if connection.reply:
                self._state = _State.SENDING
                connection.is_in_reply = True
                self._scope.deadline = trio.current_time() + self._terms.limits.write_timeout
                await self._stream.send_all(connection.reply)
                connection.sent += len(connection.reply)
                connection.reply = b""
                connection.is_in_reply = False
                connection.waiting_since = trio.current_time()
            elif connection.job is not None or session.has_more:
                self._state = _State.CODING
                self._scope.deadline = inf
                connection.reply = await self._answer_more()
            elif self._data is not None:
                data, self._data = self._data, None
                connection.reply = self._take_in(data)
            elif session.closed or trio.current_time() >= self._last_call:
                return _Next.END
            elif self._is_quiet():
                return _Next.HAND_OVER
            else:
                self._wait_for_input()
                self._data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
                connection.received += len(self._data)
                connection.waiting_since = trio.current_time()
        return _Next.GO_ON

    def _take_in(self, data: bytes) -> bytes:
        """Return the replies to `data` that can be coded now; empty `data` is the end of input."""
        session, detector, turns = self._connection.session, self._terms.detector, self._terms.turns
        if detector.never_slow:
            return detector.receive(session, data)
        if turns.must_wait:
            return session.receive(data, 0) if data else session.end(0)
        return self._in_turn(detector.receive, session, data)

    async def _answer_more(self) -> bytes:
        """Return the next replies to waiting lines, coded by a worker thread or in the event loop.

        Neither the shutdown nor the end of the process waits for the thread.
        """
        connection, terms = self._connection, self._terms
        replies: list[bytes] = []
        size = 0
        send_by = perf_counter() + _SENT_AT_ONCE_SECONDS
        while connection.job is None:
            session = connection.session
            if terms.detector.is_slow(session):
                if not replies:
                    connection.job = terms.workers.submit(connection)
                break
            if terms.turns.must_wait:
                if replies:
                    break
                await terms.turns.wait()
            replies.append(self._in_turn(terms.detector.time, session, session.resume))
            size += len(replies[-1])
            if not session.has_more or size > _SENT_AT_ONCE_BYTES or perf_counter() > send_by:
                break
        if connection.job is not None:
            replies.append(await connection.job.news())
            if connection.job.finished:
                connection.job = None
                connection.waiting_since = trio.current_time()
        return b"".join(replies)

    def _in_turn(self, answering: Callable[..., bytes], *arguments: object) -> bytes:
        """Call `answering`, which codes for at most one turn, and count its time as ours."""
        begin = perf_counter()
        try:
            return answering(*arguments)
        finally:
            self._terms.turns.spend(perf_counter() - begin)

    def _is_quiet(self) -> bool:
        return (
            self._until_quiet is not None
            and self._last_call == inf
            and self._connection.input_deadline() > trio.current_time()
            and not is_readable(self._until_quiet)
        )

    def _wait_for_input(self) -> None:
        deadline = self._connection.input_deadline()
        if self._last_call < inf:
            deadline = min(deadline, trio.current_time() + _QUIET_SECONDS, self._last_call)
        self._state = _State.RECEIVING
        self._scope.deadline = deadline
