"""TLS on an accepted, non-blocking socket.

OpenSSL works on memory buffers here, and gets one record at a time.  Python's
:class:`ssl.SSLSocket` is as fast.  But with it, OpenSSL reads from the socket as long as something
comes, and returns only for data: a client that sends endless key updates would stop the server.

Nothing is read ahead.  Records that OpenSSL hasn't got yet are still in the socket, so waiting for
the descriptor is waiting for data.
"""

from __future__ import annotations

import logging
import socket as plain
import ssl
from contextlib import suppress

from cipherecho.network.x509 import holder

__all__ = ["RECORD_BYTES", "TlsSocket"]

log = logging.getLogger("cipherecho")

# A record's header: its type, its version, and in the last two bytes its length (RFC 8446, 5.1).
_HEADER_BYTES = 5

# The most data in one record. Sending encrypts no more at a time either, since OpenSSL's buffers
# never shrink.
RECORD_BYTES = 16_384

# The most that a client may send in a handshake. A hello has less than 2 KiB, or 4 with
# post-quantum keys. A certificate chain has a few KiB, or 25 with post-quantum signatures. OpenSSL
# would accept a hello of 128 KiB, and need twice that memory. (Go: 64 KiB for each message.)
_MOST_HANDSHAKE_BYTES = 32_768

# OpenSSL's memory, in addition to a connection without large records: 22 KiB after receiving
# records of 16 KiB, 38 after sending some too, and 42 while one is incomplete. (Measured by
# benchmarks/memory.py, with OpenSSL 3.0.)
_OPENSSL_BYTES = 40 * 1024


class TlsSocket:
    """The server's end of a TLS connection, non-blocking.

    It has the methods of a plain socket that receive and send.

    Args:
      socket: connected; this makes it non-blocking, and :meth:`close` closes it.
      context: the server's certificate, and what it requires of clients.
    """

    __slots__ = (
        "_encrypted",
        "_from_client",
        "_handshake_bytes",
        "_header",
        "_is_left",
        "_missing",
        "_socket",
        "_tls",
        "_to_client",
        "_unsent",
    )

    def __init__(self, socket: plain.socket, context: ssl.SSLContext) -> None:
        socket.setblocking(False)
        self._socket = socket
        self._from_client = ssl.MemoryBIO()
        self._to_client = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._from_client, self._to_client, server_side=True)
        self._handshake_bytes = 0  # received until it is done
        self._header = b""  # the part of the next record's that has come
        self._is_left = False  # a part of a record is still to be read
        self._missing = 0  # bytes of the incomplete record
        self._unsent = b""  # what the socket had no room for
        self._encrypted = 0  # bytes of the data that :meth:`send` got

    def fileno(self) -> int:
        """Return the descriptor, or -1 after closing."""
        return self._socket.fileno()

    @property
    def minimum_version(self) -> int:
        """The oldest version that the client may use, as a :class:`ssl.TLSVersion`."""
        return self._tls.context.minimum_version

    def held(self, data: int) -> int:
        """Return how much memory incomplete and unsent records take, in bytes.

        Args:
          data: how many received or unsent bytes the caller holds.
        """
        openssl = _OPENSSL_BYTES if self._missing else min(data, _OPENSSL_BYTES)
        return openssl + len(self._unsent)

    def do_handshake(self) -> None:
        """Continue the handshake, which precedes everything else.

        Raises:
          ssl.SSLWantReadError: call this again when the descriptor is readable.
          ssl.SSLWantWriteError: call this again when the descriptor is writable.
          OSError: the handshake failed, and the client got an alert with the reason.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send_owed()
            self._receive_handshake()
        self._send_owed()

    def _receive_handshake(self) -> None:
        """Pass to OpenSSL what has come, unless it is too much."""
        try:
            if not self._feed():
                self._from_client.write_eof()
            self._handshake_bytes += self._from_client.pending  # OpenSSL has taken all before
            if self._handshake_bytes > _MOST_HANDSHAKE_BYTES:
                raise _too_long()
            self._tls.do_handshake()
        except BlockingIOError:
            raise ssl.SSLWantReadError from None
        except ssl.SSLWantReadError:
            self._send_owed()
            raise
        except ssl.SSLError:
            with suppress(OSError):
                self._flush()
            raise

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return what the client sent, at most `size` bytes; nothing at the end of its input.

        To wait for the descriptor afterwards, ask for at least 16 KiB: a record may have that many,
        and a rest of it is no longer in the socket.

        Args:
          size: in bytes.
          flags: ignored; this socket never blocks.

        Raises:
          BlockingIOError: nothing has come.
          ssl.SSLWantWriteError: TLS has to send something first, such as answers to key updates,
            and the socket is full.  Try again when the descriptor is writable.
          OSError: the connection broke, or a record was tampered with.
        """
        if self._unsent:
            self._send_owed()
        if not self._is_left and not self._feed():
            log.debug("a client ended its input by TCP alone")
            return b""
        try:
            data = self._tls.read(size)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None
        else:
            self._is_left = len(data) == size and self._tls.pending() > 0
            return data
        finally:
            if self._to_client.pending:  # an answer to a key update, or an alert
                with suppress(BlockingIOError, ConnectionError):
                    self._flush()

    def send(self, data: bytes | bytearray | memoryview, flags: int = 0) -> int:
        """Send all of `data` and return its length, or raise BlockingIOError.

        Args:
          data: what to send; after BlockingIOError, the same data again.
          flags: ignored; this socket never blocks.

        Raises:
          BlockingIOError: the socket is full.
          OSError: the connection broke.
        """
        size = len(data)
        if self._unsent:
            self._flush()
        while self._encrypted < size:
            if size <= RECORD_BYTES:
                self._encrypted = self._tls.write(data)
            else:
                part = memoryview(data)[self._encrypted : self._encrypted + RECORD_BYTES]
                self._encrypted += self._tls.write(part)
            self._flush()
        self._encrypted = 0
        return size

    def send_end(self) -> None:
        """Tell the client with TLS and with TCP that nothing follows.

        From then on, use :meth:`recv_raw` to receive.

        Raises:
          BlockingIOError: the socket is full.
          OSError: the connection broke.
        """
        self._flush()
        with suppress(ssl.SSLError):  # the client hasn't sent close_notify, or the handshake failed
            self._tls.unwrap()
        self._flush()
        self._socket.shutdown(plain.SHUT_WR)

    def recv_raw(self, size: int) -> bytes:
        """Return what comes after :meth:`send_end` without decrypting it, to find the end.

        Raises:
          BlockingIOError: nothing has come.
          OSError: the connection broke.
        """
        return self._socket.recv(size)

    def close(self) -> None:
        """Close the socket, after TLS's close_notify unless a record is partly sent."""
        if not self._encrypted:
            with suppress(OSError):
                self._flush()
                self._tls.unwrap()
            with suppress(OSError):
                self._flush()
        self._socket.close()

    def _feed(self) -> bool:
        """Pass to OpenSSL what has come of one record; return False at the end of input.

        Raises:
          BlockingIOError: nothing has come.
          OSError: the connection broke.
        """
        if not self._missing:
            header = self._socket.recv(_HEADER_BYTES - len(self._header))
            if not header:
                return False
            if self._header:
                header = self._header + header
                self._header = b""
            if len(header) < _HEADER_BYTES:
                self._header = header
                return True
            self._from_client.write(header)
            self._missing = header[3] << 8 | header[4]
            if not self._missing:
                return True  # OpenSSL handles an empty record
        try:
            data = self._socket.recv(self._missing)
        except BlockingIOError:
            return True
        self._from_client.write(data)
        self._missing -= len(data)
        return bool(data)

    def _send_owed(self) -> None:
        """Send what TLS has to send before it receives anything."""
        try:
            self._flush()
        except BlockingIOError:
            raise ssl.SSLWantWriteError from None

    def _flush(self) -> None:
        """Send everything that waits to be sent."""
        unsent = self._unsent or self._to_client.read()
        while unsent:
            try:
                sent = self._socket.send(unsent)
            except OSError:
                self._unsent = unsent
                raise
            if sent == len(unsent) and not self._to_client.pending:
                break
            unsent = unsent[sent:] or self._to_client.read()
        self._unsent = b""

    def peer_subject(self) -> str:
        """Return the subject of the client's certificate, such as ``CN=alice``.

        It may have any characters and any length.  Without a certificate, it is empty.
        """
        der = self._tls.getpeercert(binary_form=True)
        return holder(der) if der else ""


def _too_long() -> ssl.SSLError:
    error = ssl.SSLError(f"more than {_MOST_HANDSHAKE_BYTES} bytes came in a handshake")
    error.reason = "HANDSHAKE_TOO_LONG"
    return error
