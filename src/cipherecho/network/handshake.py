"""What precedes a client's first line: the PROXY header and the TLS handshake.

Both run in the client's own task, under the caller's deadline.
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

# Nearly all headers are far shorter. The rest of a longer one comes with the next look.
_LOOK_BYTES = 4096

# How long a client may be silent after a failed handshake. It has nothing to say, and mostly closes
# at once.
_GOODBYE_SECONDS = 0.25


class HandshakeError(Exception):
    """A client's PROXY header or TLS handshake is wrong; the message says why, for the log."""


async def receive_proxy_header(client: socket.socket) -> ProxyHeader:
    """Receive the header that a proxy sends first, and nothing after it.

    On cancellation, the bytes received so far are lost.

    Raises:
      HandshakeError: the client sent something else, or ended before the header was complete.
    """
    received = b""
    while True:
        await trio.lowlevel.wait_readable(client)
        try:
            seen = client.recv(_LOOK_BYTES, socket.MSG_PEEK)
            if not seen:
                raise HandshakeError(f"got {len(received)} bytes, then the end")
            header = parse_proxy_header(received + seen)
            # As long as the header is incomplete, all that was seen belongs to it.
            size = len(seen) if header is None else header.size - len(received)
            received += client.recv(size)
        except BlockingIOError:
            continue  # the system said that it was readable
        except (OSError, ProxyHeaderError) as error:
            raise HandshakeError(str(error)) from error
        if header is not None:
            return header


async def shake_hands(client: socket.socket, context: SSLContext) -> TlsSocket:
    """Shake hands with a client, and return its socket with TLS on it.

    Raises:
      HandshakeError: the handshake failed, and the client got an alert with the reason.  The caller
        has to close `client`.
    """
    secured = TlsSocket(client, context)
    stream = TlsStream(secured)
    try:
        await stream.do_handshake()
    except TlsHandshakeError as error:
        # Closing with unread input sends a reset, and then the client may lose the alert.
        with suppress(trio.BrokenResourceError):
            await close_gently(stream, silence=_GOODBYE_SECONDS)
        raise HandshakeError(error.reason) from error
    return secured
