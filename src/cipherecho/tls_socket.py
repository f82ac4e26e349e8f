"""TLS on an accepted socket: for the express lane without waiting, and as a stream for a task.

Python's own :class:`ssl.SSLSocket` works on the descriptor.  The alternative, OpenSSL on
buffers in memory with plain sends and receives around it, as Trio and asyncio have it for
the sake of every transport, measured no better and is more code.

Nothing is read ahead: what OpenSSL has not been asked for is still in the socket, so that
waiting for the descriptor is waiting for data.
"""

from __future__ import annotations

import socket as plain
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from typing import TypeVar, cast

import trio

__all__ = ["TlsHandshakeError", "TlsSocket", "TlsStream"]

T = TypeVar("T")
_Names = tuple[tuple[str, str], ...]

# A record of TLS holds no more, and OpenSSL gives out one at a time.
_RECORD_BYTES = 16_384


class TlsSocket:
    """The server's end of a TLS connection, on which nothing ever waits.

    It takes the place of a plain socket where that is only received from and sent to.

    Args:
      socket: connected; closed by this object's :meth:`close` from now on.
      context: what the server has to show, and asks for.

    Raises:
      OSError: the client has gone already; `socket` is still the caller's to close.
    """

    __slots__ = ("_ssl",)

    def __init__(self, socket: plain.socket, context: ssl.SSLContext) -> None:
        socket.getpeername()  # or what follows fails after it has taken the socket
        socket.setblocking(False)
        self._ssl = context.wrap_socket(
            socket, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )

    def fileno(self) -> int:
        """Return the descriptor, or -1 if it is closed."""
        return self._ssl.fileno()

    def do_handshake(self) -> None:
        """Go on with the handshake, which has to be done before anything else.

        Raises:
          ssl.SSLWantReadError: it goes on when the descriptor is readable.
          ssl.SSLWantWriteError: it goes on when the descriptor is writable.
          OSError: it failed, and OpenSSL has told the client why.
        """
        self._ssl.do_handshake()

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
          ssl.SSLWantWriteError: the client asked for new keys, which have to be sent to it
            first, and it does not take them; try again when the descriptor is writable.
          OSError: the connection broke, or what came is not what the client sent.
        """
        try:
            return self._ssl.recv(size)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None
        except ssl.SSLEOFError:  # Python says so of a reset too, after which there is no peer
            self._ssl.getpeername()
            return b""

    def send(self, data: bytes | bytearray | memoryview, flags: int = 0) -> int:
        """Send all of `data` and return its length, or send none that the caller need know of.

        Args:
          data: if it was not taken the time before, the same again, in the same place or not.
          flags: of no account, as nothing waits here.

        Raises:
          BlockingIOError: the socket is full.
          OSError: the connection broke.
        """
        try:
            return self._ssl.send(data)
        except ssl.SSLWantWriteError:
            raise BlockingIOError from None

    def send_end(self) -> None:
        """Tell the client, by TLS and by TCP, that nothing follows.

        What it sends from then on is not decrypted: :meth:`recv` returns it as it comes,
        for somebody who waits for its end.

        Raises:
          BlockingIOError: the socket is full.
          OSError: the connection broke.
        """
        try:
            self._ssl.unwrap()
        except ssl.SSLWantWriteError:
            raise BlockingIOError from None
        except (OSError, ValueError):
            pass  # it has no end of its own yet, or there is no TLS to be ended
        self._ssl.shutdown(plain.SHUT_WR)

    def close(self) -> None:
        """Close the socket; the client is told by TLS, if it is ready to hear it."""
        with suppress(OSError, ValueError):
            self._ssl.unwrap()
        self._ssl.close()

    def peer_subject(self) -> str:
        """Return whom the client's certificate is for, such as "CN=alice"; nothing without one.

        It may have any characters and any length.
        """
        certificate = self._ssl.getpeercert() or {}
        subject = cast("tuple[_Names, ...]", certificate.get("subject", ()))
        for kind, name in chain.from_iterable(subject):
            if kind == "commonName":
                return f"CN={name}"
        others = cast("_Names", certificate.get("subjectAltName", ()))
        return "".join(f"{kind}={name}" for kind, name in others[:1])


class TlsHandshakeError(trio.BrokenResourceError):
    """TLS did not come about; `reason` says in a few words why, for the log."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the TLS handshake failed: {reason}")


class TlsStream(trio.abc.HalfCloseableStream):
    """A TLS connection for a task, which may wait.

    One task at a time may send, and one receive.  When a send was cancelled, the
    connection is only good for being closed.

    Args:
      socket: what is sent and received by; closed by :meth:`aclose`.
    """

    def __init__(self, socket: TlsSocket) -> None:
        self.socket = socket
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
            raise TlsHandshakeError(_reason(broken.__cause__)) from broken.__cause__

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
        elif max_bytes < 1:
            raise ValueError(f"max_bytes: got {max_bytes}, expected 1 or more")
        receive = partial(self.socket.recv, max_bytes)
        return await self._when_possible(receive, trio.lowlevel.wait_readable)

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


def _reason(error: BaseException | None) -> str:
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
    words = _REASONS.get(reason) or (refusal or reason).replace("_", " ").lower()
    return f"refused by the client: {words}" if alert else words
