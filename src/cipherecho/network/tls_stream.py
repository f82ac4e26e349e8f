"""A TLS connection as a Trio stream, for use in a task."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import index
from typing import TypeVar

import trio

from cipherecho.network.tls_socket import RECORD_BYTES, TlsSocket

__all__ = ["TlsHandshakeError", "TlsStream"]

T = TypeVar("T")


class TlsHandshakeError(trio.BrokenResourceError):
    """The TLS handshake failed; `reason` says why in a few words, for the log."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the TLS handshake failed: {reason}")


class TlsStream(trio.abc.HalfCloseableStream):
    """A TLS connection as a Trio stream.

    Only one task may use it at a time, since receiving may have to send first.  After a cancelled
    send, the only thing left to do is to close it.

    Args:
      socket: the socket; :meth:`aclose` closes it.
      waits: called before each wait, when the socket may hold part of a record.
    """

    def __init__(self, socket: TlsSocket, waits: Callable[[], None] | None = None) -> None:
        self.socket = socket
        self._waits = _nothing if waits is None else waits
        self._sending = False
        self._sent_end = False

    async def do_handshake(self) -> None:
        """Shake hands with the client, before anything else.

        There is no timeout, here or elsewhere; the caller sets one.

        Raises:
          TlsHandshakeError: the handshake failed.  For the client to learn why, don't close at
            once: :meth:`send_eof`, then :meth:`receive_some` until its end.
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
        """Wait until the socket has room.

        Raises:
          ClosedResourceError, BusyResourceError: as for :meth:`send_all`.
        """
        with self._one_sender():
            await self._when_writable(_nothing)
            await trio.lowlevel.wait_writable(self.socket)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what the client sent, at most `max_bytes`; nothing at the end of its input.

        A client can end its input with TLS's close_notify or with TCP alone.  After
        :meth:`send_eof`, this returns what comes without decrypting it.

        Raises:
          BrokenResourceError: the connection broke, or a record was tampered with.
          ClosedResourceError: the stream is closed.
          BusyResourceError: another task is receiving.
        """
        if max_bytes is None:
            max_bytes = RECORD_BYTES
        elif index(max_bytes) < 1:
            raise ValueError(f"max_bytes: got {max_bytes}, expected 1 or more")
        receive = self.socket.recv_raw if self._sent_end else self.socket.recv
        return await self._when_possible(partial(receive, max_bytes), trio.lowlevel.wait_readable)

    async def send_eof(self) -> None:
        """Tell the client that nothing follows; further calls do nothing.

        Raises:
          BrokenResourceError, ClosedResourceError, BusyResourceError: as for :meth:`send_all`.
        """
        with self._one_sender():
            await self._when_writable(_nothing if self._sent_end else self.socket.send_end)
            self._sent_end = True

    async def aclose(self) -> None:
        """Close the socket, without waiting for the client; this is possible at any time."""
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
        """Return the result of `attempt`, as soon as it doesn't block.

        Cancellation loses nothing that was received: after a successful attempt, this can't be
        cancelled.
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
    """Do nothing: an attempt that never blocks."""


# OpenSSL's reasons when something other than TLS comes. It recognises HTTP; for everything else it
# has the last one since 3.2.
_PLAINTEXT = {"HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}

# By the codes of X509_verify_cert_error_string(3).
_VERIFICATION = {
    10: "expired certificate",
    18: "unknown CA",  # self-signed
    19: "unknown CA",  # its root was sent, but isn't trusted
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
    """Return why a handshake failed, in a few words, without any text from the client."""
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
