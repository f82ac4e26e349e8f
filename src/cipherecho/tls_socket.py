"""TLS on an accepted socket: for the express lane without waiting, and as a stream for a task.

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
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from operator import index
from typing import TypeVar

import trio

from cipherecho.certificate_holder import holder

__all__ = ["TlsHandshakeError", "TlsSocket", "TlsStream", "stream_of"]

log = logging.getLogger("cipherecho")

T = TypeVar("T")

# A record has its kind, its version, and in the last two bytes its length (RFC 8446, 5.1).
_HEADER_BYTES = 5

# More data are not in one record.  So many are encrypted at a time, too: the buffers of
# OpenSSL keep the size that they once had.
_RECORD_BYTES = 16_384

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
            if size <= _RECORD_BYTES:
                self._encrypted = self._tls.write(data)
            else:
                part = memoryview(data)[self._encrypted : self._encrypted + _RECORD_BYTES]
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


class TlsHandshakeError(trio.BrokenResourceError):
    """TLS did not come about; `reason` says in a few words why, for the log."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the TLS handshake failed: {reason}")


class TlsStream(trio.abc.HalfCloseableStream):
    """A TLS connection for a task, which may wait.

    It is for one task at a time, since to receive, it may have to send first.  When a send
    was cancelled, the connection is only good for being closed.

    Args:
      socket: what is sent and received by; closed by :meth:`aclose`.
      waits: called before anything is waited for, when the socket may hold part of a record.
    """

    def __init__(self, socket: TlsSocket, waits: Callable[[], None] | None = None) -> None:
        self.socket = socket
        self._waits = _nothing if waits is None else waits
        self._sending = False
        self._sent_end = False

    async def do_handshake(self) -> None:
        """Agree with the client on keys, which has to be done before anything else.

        How long that takes is up to the caller, as for everything here.

        Raises:
          TlsHandshakeError: they did not agree.  The client learns why if the connection is
            not closed at once: :meth:`send_eof`, and :meth:`receive_some` until its end.
          ClosedResourceError: another task closed the stream.
        """
        try:
            await self._when_possible(self.socket.do_handshake, trio.lowlevel.wait_readable)
        except trio.BrokenResourceError as broken:
            reason = _reason(broken.__cause__, self.socket.minimum_version)
            raise TlsHandshakeError(reason) from broken.__cause__

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`.

        Raises:
          BrokenResourceError: the connection broke.
          ClosedResourceError: the stream is closed, or its end was sent.
          BusyResourceError: another task is sending.
        """
        if self._sent_end:
            raise trio.ClosedResourceError("the end of this stream was sent")
        with self._one_sender():
            await self._when_writable(partial(self.socket.send, data) if data else _nothing)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the socket is not full.

        Raises:
          ClosedResourceError, BusyResourceError: as for :meth:`send_all`.
        """
        with self._one_sender():
            await self._when_writable(_nothing)
            await trio.lowlevel.wait_writable(self.socket)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what the client sent, at most `max_bytes`; nothing at the end of its input.

        It has ended its input by TLS or by TCP alone.  After :meth:`send_eof`, what comes is
        returned as it comes, not decrypted.

        Raises:
          BrokenResourceError: the connection broke, or what came is not what the client sent.
          ClosedResourceError: the stream is closed.
          BusyResourceError: another task is receiving.
        """
        if max_bytes is None:
            max_bytes = _RECORD_BYTES
        elif index(max_bytes) < 1:
            raise ValueError(f"max_bytes: got {max_bytes}, expected 1 or more")
        receive = self.socket.recv_raw if self._sent_end else self.socket.recv
        return await self._when_possible(partial(receive, max_bytes), trio.lowlevel.wait_readable)

    async def send_eof(self) -> None:
        """Tell the client that nothing follows; once is enough, and more do no harm.

        Raises:
          BrokenResourceError, ClosedResourceError, BusyResourceError: as for :meth:`send_all`.
        """
        with self._one_sender():
            await self._when_writable(_nothing if self._sent_end else self.socket.send_end)
            self._sent_end = True

    async def aclose(self) -> None:
        """Close the socket, at any time; the client is not waited for."""
        if self.socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()
        await trio.lowlevel.checkpoint()

    @contextmanager
    def _one_sender(self) -> Iterator[None]:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            yield
        finally:
            self._sending = False

    async def _when_writable(self, attempt: Callable[[], object]) -> None:
        await self._when_possible(attempt, trio.lowlevel.wait_writable)

    async def _when_possible(
        self, attempt: Callable[[], T], possible: Callable[[TlsSocket], Awaitable[None]]
    ) -> T:
        """Return what `attempt` returns, as soon as it does not have to wait.

        What has been received when this is cancelled is not lost: nothing is waited for
        between that and the return but other tasks' turn.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        wait = None
        while True:
            if self.socket.fileno() < 0:
                raise trio.ClosedResourceError("this stream is closed")
            try:
                result = attempt()
            except BlockingIOError:
                wait = possible
            except ssl.SSLWantReadError:
                wait = trio.lowlevel.wait_readable
            except ssl.SSLWantWriteError:
                wait = trio.lowlevel.wait_writable
            except OSError as error:
                raise trio.BrokenResourceError(f"the connection broke: {error}") from error
            else:
                if wait is None:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                return result
            self._waits()
            await wait(self.socket)


def _nothing() -> None:
    """Do what is always possible."""


def stream_of(
    socket: object, waits: Callable[[], None] | None = None
) -> trio.abc.HalfCloseableStream:
    """Return a stream on an accepted socket, with TLS on it or not; closing one closes both.

    `waits` is as for :class:`TlsStream`, and nothing is held by one without.
    """
    if isinstance(socket, TlsSocket):
        return TlsStream(socket, waits)
    assert isinstance(socket, plain.socket)
    return trio.SocketStream(trio.socket.from_stdlib_socket(socket))


# What OpenSSL says when it is sent something else than TLS: it knows HTTP when it sees it.
# From 3.2 on, what it says of all others is the last.
_PLAINTEXT = {"HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}

# By the codes of X509_verify_cert_error_string(3).
_VERIFICATION = {
    10: "expired certificate",
    18: "unknown CA",  # it is its own
    19: "unknown CA",  # its root was sent, and is not ours
    20: "unknown CA",
    21: "unknown CA",  # its root was not sent
}

_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no certificate",
    "UNSUPPORTED_PROTOCOL": "protocol version",
}

# Some clients never speak TLS 1.3, such as the sockets of pwntools.
_OLDER_CLIENT = "; --tls-min 1.2 admits clients that speak TLS 1.2"


def _reason(error: BaseException | None, minimum: int) -> str:
    """Return why a handshake failed, in a few words, none of them the client's."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFICATION.get(error.verify_code, error.verify_message)
    if isinstance(error, ssl.SSLZeroReturnError | ssl.SSLEOFError):
        return "ended by the client"
    if not isinstance(error, ssl.SSLError) or error.reason is None:
        return "reset"
    reason = error.reason
    if reason in _PLAINTEXT:
        return "plaintext"
    _, alert, refusal = reason.partition("_ALERT_")
    if reason == "UNSUPPORTED_PROTOCOL" and minimum == ssl.TLSVersion.TLSv1_3:
        return _REASONS[reason] + _OLDER_CLIENT
    words = _REASONS.get(reason) or (refusal or reason).replace("_", " ").lower()
    return f"refused by the client: {words}" if alert else words
