"""A TLS connection as a Trio stream, for a task, which may wait."""

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
            max_bytes = RECORD_BYTES
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
