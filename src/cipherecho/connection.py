"""One client's connection, served by one task.

The task joins a stream to a session and keeps the time.  All that can end a
connection ends here, and goes no further: a reset, a timeout, a faulty cipher and a
fault of our own are each one record in the log.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from enum import StrEnum
from math import inf

import trio

from cipherecho.limits import Limits
from cipherecho.session import Closed, Session

__all__ = ["Connection", "close_gently", "peer_of"]

log = logging.getLogger("cipherecho")

# One receive of this size is answered with one send. It is Trio's own default, and a
# socket's receive buffer rarely holds more.
_RECEIVE_BYTES = 65_536

# After the last words, the client's input is discarded, since closing a socket with
# unread input sends a reset, which can overtake the words. A silent client gets time
# for a few round trips around the world; one that still sends, time to catch up with
# reading. (nginx: 5 s and 30 s.)
_LINGER_SECONDS = 1.0
_LONGEST_LINGER_SECONDS = 5.0

# At shutdown, a connection on which nothing came for so long counts as idle: enough for
# what is under way on a local network.
_QUIET_SECONDS = 0.05

# At shutdown, a client that never pauses is read from for so long.
_LAST_CALL_SECONDS = 0.5


class _Waiting(StrEnum):
    """What the task waits for, and so what it means when the time is up."""

    INPUT = "input"
    OUTPUT = "output"


class Connection:
    """Serves one client until either side ends it.

    Args:
      stream: the client's bytes; whoever accepted it closes it when :meth:`run` returns.
      session: what answers them.
      limits: the times and sizes that bound the connection.
      peer: the client's name in the log.
      report: called with what a faulty cipher raised.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        session: Session,
        limits: Limits,
        peer: str,
        report: Callable[[BaseException], None],
    ) -> None:
        self._stream = stream
        self._session = session
        self._limits = limits
        self._peer = peer
        self._report = report
        # Its deadline moves: a scope for each receive and send halves the throughput.
        self._scope = trio.CancelScope()
        self._waiting = _Waiting.INPUT
        self._line_number = 0
        self._line_deadline = inf
        self._last_call = inf  # set when draining
        self._reply = b""  # still to be sent
        self._received = 0
        self._sent = 0

    async def run(self) -> None:
        """Serve the client, and log how that ended."""
        started = trio.current_time()
        reason = "cut"
        try:
            reason = await self._converse()
        except trio.BrokenResourceError:
            reason = "reset by the client"
        except Exception:
            reason = "internal error"
            log.exception("internal error on the connection of %s", self._peer)
        finally:
            if self._session.failure is not None:
                self._report(self._session.failure)
            log.info(
                "closed: peer=%(peer)s reason=%(reason)r lines=%(lines)d rejected=%(rejected)d "
                "received=%(received)d sent=%(sent)d seconds=%(seconds).3f",
                {
                    "peer": self._peer,
                    "reason": str(reason),
                    "lines": self._session.lines,
                    "rejected": self._session.rejected,
                    "received": self._received,
                    "sent": self._sent,
                    "seconds": trio.current_time() - started,
                },
            )

    def drain(self) -> None:
        """Answer what has come, then close; the connection ends soon after."""
        now = trio.current_time()
        self._last_call = min(self._last_call, now + _LAST_CALL_SECONDS)
        if self._waiting is _Waiting.INPUT:
            self._scope.deadline = min(self._scope.deadline, now + _QUIET_SECONDS)

    async def _converse(self) -> str:
        """Exchange lines until there is a reason to stop; return that."""
        over = False
        while not over:
            with trio.CancelScope() as self._scope:
                over = await self._exchange()
            if self._scope.cancelled_caught:
                break
        if not over and self._waiting is _Waiting.OUTPUT:
            return "write timeout"
        if self._session.closed is Closed.END_OF_INPUT:
            return self._session.closed
        if self._session.closed is not None:  # its error line is sent
            await close_gently(self._stream)
            return self._session.closed
        reason, message = self._why_input_ended()
        last_words = self._session.close(message) if message else b""
        self._sent += len(last_words)
        await close_gently(self._stream, last_words)
        return reason

    async def _exchange(self) -> bool:
        """Receive and send in turn; return whether there is no more to do.

        If there is, the scope's time ran out in the instant when what it waited for came:
        that was in time, and needs a new scope to go on in.
        """
        while not self._scope.cancel_called:
            if self._reply:
                self._waiting = _Waiting.OUTPUT
                self._scope.deadline = trio.current_time() + self._limits.write_timeout
                await self._stream.send_all(self._reply)
                self._sent += len(self._reply)
                self._reply = b""
            elif self._session.has_more:
                self._reply = self._session.resume()
            elif self._session.closed or trio.current_time() >= self._last_call:
                return True
            else:
                self._wait_for_input()
                data = bytes(await self._stream.receive_some(_RECEIVE_BYTES))
                self._received += len(data)
                self._reply = self._session.receive(data) if data else self._session.end()
        return False

    def _wait_for_input(self) -> None:
        now = trio.current_time()
        if not self._session.has_begun_line:
            self._line_deadline = inf
        elif self._line_deadline == inf or self._line_number != self._session.lines:
            self._line_number = self._session.lines  # of those before the one that has begun
            self._line_deadline = now + self._limits.line_timeout
        deadline = min(now + self._limits.idle_timeout, self._line_deadline)
        if self._last_call < inf:
            deadline = min(deadline, now + _QUIET_SECONDS, self._last_call)
        self._waiting = _Waiting.INPUT
        self._scope.deadline = deadline

    def _why_input_ended(self) -> tuple[str, str]:
        """Return the reason for the log, and the message for the client if any."""
        if self._last_call < inf:
            return "shutdown", ""
        if trio.current_time() >= self._line_deadline:
            seconds = self._limits.line_timeout
            return (
                "line timeout",
                f"got no end of the line for {seconds:g} s, expected one within that time",
            )
        seconds = self._limits.idle_timeout
        return "idle", f"got nothing for {seconds:g} s, expected a line within that time"


async def close_gently(
    stream: trio.abc.Stream, last_words: bytes = b"", silence: float = _LINGER_SECONDS
) -> None:
    """Send `last_words`, half-close, and discard input for a short time.

    Returns when the client has closed too, has been silent for `silence` seconds, or has
    been at it for five; the stream is still to be closed then.

    Raises:
      BrokenResourceError: the client reset the connection.
    """
    now = trio.current_time()
    last = now + _LONGEST_LINGER_SECONDS
    with trio.CancelScope(deadline=now + silence) as scope:
        if last_words:
            await stream.send_all(last_words)
        if isinstance(stream, trio.abc.HalfCloseableStream):
            await stream.send_eof()
        while await stream.receive_some(_RECEIVE_BYTES):
            scope.deadline = min(last, trio.current_time() + silence)


def peer_of(stream: trio.SocketStream) -> str:
    """Return the client's address for the log; a Unix socket's clients have none."""
    if stream.socket.family == socket.AF_UNIX:
        return "unix"
    try:
        host, port = stream.socket.getpeername()[:2]
    except OSError:  # it was reset while it waited to be accepted
        return "unknown"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
