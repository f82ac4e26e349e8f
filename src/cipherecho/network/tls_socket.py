"""TLS on an accepted socket that never waits.

OpenSSL works on buffers in memory here, and is given one record at a time.  Python's
:class:`ssl.SSLSocket` costs the same, but OpenSSL goes on reading from the socket as long as
there is something, and returns only for data: a client that sends nothing but new keys,
without an end, would stop the server.

Nothing is read ahead: a record that OpenSSL was not given is still in the socket, so that
waiting for the descriptor is waiting for data.
"""

from __future__ import annotations

import logging
import socket as plain
import ssl
from contextlib import suppress

from cipherecho.network.x509 import holder

__all__ = ["RECORD_BYTES", "TlsSocket"]

log = logging.getLogger("cipherecho")

# A record has its kind, its version, and in the last two bytes its length (RFC 8446, 5.1).
_HEADER_BYTES = 5

# More data are not in one record.  So many are encrypted at a time, too: the buffers of
# OpenSSL keep the size that they once had.
RECORD_BYTES = 16_384

# A client may send so much until its handshake is done. A hello has less than 2 KiB, or 4 with
# keys that withstand quantum computers, and a chain of certificates some KiB, or 25 with such
# signatures. OpenSSL would take 128 KiB of a hello, and keep it in twice the memory. (Go: 64 KiB
# for each message.)
_MOST_HANDSHAKE_BYTES = 32_768

# What OpenSSL takes more than for a connection on which nothing large ever went: 22 KiB for
# records of 16 KiB that came, 38 for such that went too, 42 as long as one is not complete.
# (Measured by benchmarks/memory.py, with OpenSSL 3.0.)
_OPENSSL_BYTES = 40 * 1024


class TlsSocket:
    """The server's end of a TLS connection, on which nothing ever waits.

    It takes the place of a plain socket where that is only received from and sent to.

    Args:
      socket: connected; made not to wait, and closed by this object's :meth:`close`.
      context: what the server has to show, and asks for.
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
        self._handshake_bytes = 0  # that came until it is done
        self._header = b""  # what has come of the next record's
        self._is_left = False  # some of a record that was asked for in part
        self._missing = 0  # bytes of the record that has begun
        self._unsent = b""  # what the socket did not take
        self._encrypted = 0  # bytes of the data that are offered to :meth:`send`

    def fileno(self) -> int:
        """Return the descriptor, or -1 if it is closed."""
        return self._socket.fileno()

    @property
    def minimum_version(self) -> int:
        """The oldest version that the client may speak, as a :class:`ssl.TLSVersion`."""
        return self._tls.context.minimum_version

    def held(self, data: int) -> int:
        """Return how much memory is taken by what TLS is in the midst of, in bytes.

        Args:
          data: how many bytes that came or are to be sent are held by others.
        """
        openssl = _OPENSSL_BYTES if self._missing else min(data, _OPENSSL_BYTES)
        return openssl + len(self._unsent)

    def do_handshake(self) -> None:
        """Go on with the handshake, which has to be done before anything else.

        Raises:
          ssl.SSLWantReadError: it goes on when the descriptor is readable.
          ssl.SSLWantWriteError: it goes on when the descriptor is writable.
          OSError: it failed, and the client was told why.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send_owed()
            self._receive_handshake()
        self._send_owed()

    def _receive_handshake(self) -> None:
        """Give OpenSSL what has come, if it is not too much."""
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

        At least 16 KiB have to be asked for by whoever waits for the descriptor afterwards:
        a record of TLS may have so many, and those that are left over are not in the
        socket any more.

        Args:
          size: in bytes.
          flags: of no account, as nothing waits here.

        Raises:
          BlockingIOError: nothing has come.
          ssl.SSLWantWriteError: something has to be sent first, or answers to what is no data
            would pile up, and the socket is full; try again when the descriptor is writable.
          OSError: the connection broke, or what came is not what the client sent.
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
            if self._to_client.pending:  # such an answer, or what was wrong
                with suppress(BlockingIOError, ConnectionError):
                    self._flush()

    def send(self, data: bytes | bytearray | memoryview, flags: int = 0) -> int:
        """Send all of `data` and return its length, or send none that the caller need know of.

        Args:
          data: if it was not taken the time before, the same again, in the same place or not.
          flags: of no account, as nothing waits here.

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
        """Tell the client, by TLS and by TCP, that nothing follows.

        What it sends from then on is to be had by :meth:`recv_raw` alone.

        Raises:
          BlockingIOError: the socket is full.
          OSError: the connection broke.
        """
        self._flush()
        with suppress(ssl.SSLError):  # it has no end of its own yet, or TLS did not come about
            self._tls.unwrap()
        self._flush()
        self._socket.shutdown(plain.SHUT_WR)

    def recv_raw(self, size: int) -> bytes:
        """Return what comes after :meth:`send_end`, not decrypted, for who waits for its end.

        Raises:
          BlockingIOError: nothing has come.
          OSError: the connection broke.
        """
        return self._socket.recv(size)

    def close(self) -> None:
        """Close the socket; unless it was in the middle of something, the client is told by TLS."""
        if not self._encrypted:
            with suppress(OSError):
                self._flush()
                self._tls.unwrap()
            with suppress(OSError):
                self._flush()
        self._socket.close()

    def _feed(self) -> bool:
        """Give OpenSSL what has come of one record; return whether it is not the end.

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
                return True  # OpenSSL says what it thinks of that
        try:
            data = self._socket.recv(self._missing)
        except BlockingIOError:
            return True
        self._from_client.write(data)
        self._missing -= len(data)
        return bool(data)

    def _send_owed(self) -> None:
        """Send what has to be sent before anything is received."""
        try:
            self._flush()
        except BlockingIOError:
            raise ssl.SSLWantWriteError from None

    def _flush(self) -> None:
        """Send what there is for the client."""
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
        """Return whom the client's certificate is for, such as "CN=alice", as far as it tells.

        It may have any characters and any length; without a certificate it is empty.
        """
        der = self._tls.getpeercert(binary_form=True)
        return holder(der) if der else ""


def _too_long() -> ssl.SSLError:
    error = ssl.SSLError(f"more than {_MOST_HANDSHAKE_BYTES} bytes came in a handshake")
    error.reason = "HANDSHAKE_TOO_LONG"
    return error
