"""Trio streams on accepted sockets, closed so that the last bytes arrive."""

from __future__ import annotations

import socket as plain
from collections.abc import Callable

import trio

from cipherecho.network.sockets import RECEIVE_BYTES
from cipherecho.network.tls_socket import TlsSocket
from cipherecho.network.tls_stream import TlsStream

__all__ = ["close_gently", "stream_of"]

# Closing a socket with unread input sends a reset, which can overtake the last words. So the
# client's input is read and discarded first. A silent client gets time for a few round trips around
# the world; one that still sends gets time to catch up with reading. (nginx: 5 s and 30 s.)
_LINGER_SECONDS = 1.0
_LONGEST_LINGER_SECONDS = 5.0


def stream_of(
    socket: object, waits: Callable[[], None] | None = None
) -> trio.abc.HalfCloseableStream:
    """Return a stream on an accepted socket, with TLS on it or not; closing one closes both.

    `waits` is as for :class:`TlsStream`; a stream without TLS doesn't call it.
    """
    if isinstance(socket, TlsSocket):
        return TlsStream(socket, waits)
    assert isinstance(socket, plain.socket)
    return trio.SocketStream(trio.socket.from_stdlib_socket(socket))


async def close_gently(
    stream: trio.abc.Stream, last_words: bytes = b"", silence: float = _LINGER_SECONDS
) -> None:
    """Send `last_words`, half-close, and discard input for a short time.

    Returns when the client has closed too, after `silence` seconds without input, and after five
    seconds at most.  The caller still has to close the stream.

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
        while await stream.receive_some(RECEIVE_BYTES):
            scope.deadline = min(last, trio.current_time() + silence)
