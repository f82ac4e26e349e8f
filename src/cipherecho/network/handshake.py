"""What comes before a client's first line: whom a proxy speaks for, and the TLS handshake.

Each is waited for in the client's own task, and ended by the caller's deadline.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from ssl import SSLContext

import trio

from cipherecho.network.proxy_protocol import ProxyHeader, ProxyHeaderError, parse_proxy_header
from cipherecho.network.streams import close_gently
from cipherecho.network.tls_socket import TlsSocket
from cipherecho.network.tls_stream import TlsHandshakeError, TlsStream

__all__ = ["HandshakeError", "receive_proxy_header", "shake_hands"]

# No header is longer, by far; what is longer comes with the next look.
_LOOK_BYTES = 4096

# After a handshake that failed, a client may be silent for so long: it has nothing to say, and
# mostly closes at once.
_GOODBYE_SECONDS = 0.25


class HandshakeError(Exception):
    """A client did not begin as it had to; the message says what it did, for the log."""


async def receive_proxy_header(client: socket.socket) -> ProxyHeader:
    """Receive the header that a proxy sends first, and not a byte of what comes after it.

    When this is cancelled, the bytes that have come are lost.

    Raises:
      HandshakeError: what came is no such header, or ended before it did.
    """
    received = b""
    while True:
        await trio.lowlevel.wait_readable(client)
        try:
            seen = client.recv(_LOOK_BYTES, socket.MSG_PEEK)
            if not seen:
                raise HandshakeError(f"got {len(received)} bytes, then the end")
            header = parse_proxy_header(received + seen)
            # Whatever was seen of a header that is not complete belongs to it.
            size = len(seen) if header is None else header.size - len(received)
            received += client.recv(size)
        except BlockingIOError:
            continue  # it was readable a moment ago, or so the system said
        except (OSError, ProxyHeaderError) as error:
            raise HandshakeError(str(error)) from error
        if header is not None:
            return header


async def shake_hands(client: socket.socket, context: SSLContext) -> TlsSocket:
    """Return a client's socket with TLS on it, after the handshake.

    Raises:
      HandshakeError: the handshake failed, and the client was told why; `client` is still to
        be closed.
    """
    secured = TlsSocket(client, context)
    stream = TlsStream(secured)
    try:
        await stream.do_handshake()
    except TlsHandshakeError as error:
        # Closing with input unread is a reset, which would take the reason from the client.
        with suppress(trio.BrokenResourceError):
            await close_gently(stream, silence=_GOODBYE_SECONDS)
        raise HandshakeError(error.reason) from error
    return secured
