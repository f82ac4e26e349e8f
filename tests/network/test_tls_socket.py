"""TLS on real sockets, with Python's ssl and OpenSSL's own client at the other end."""

from __future__ import annotations

import fcntl
import logging
import socket
import ssl
import struct
import subprocess
import termios
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from cipherecho.network.certificates import Certificates
from cipherecho.network.tls_socket import TlsSocket
from cipherecho.network.tls_stream import TlsHandshakeError, TlsStream
from cipherecho.settings.tls import ClientAuth, TlsSettings, TlsVersion
from tests.helpers.certificates import Authority
from tests.helpers.running import PATIENCE, tool

# What sockets hold is limited to less than the big reply.
HELD_BYTES = 65_536
BIG = b"0123456789abcdef" * 65_536

# What a record of a big reply has of it (RFC 8446, 5.1).
RECORD_BYTES = 16_384


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.at(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def settings(authority: Authority) -> TlsSettings:
    return TlsSettings(*authority.write_server())


@pytest.fixture
def context(settings: TlsSettings) -> ssl.SSLContext:
    return Certificates(settings).context


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield the server's and the client's end of a TCP connection; the client's waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.settimeout(PATIENCE)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, HELD_BYTES)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        with server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, HELD_BYTES)
            yield server, client


@contextmanager
def paired() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield what `connected` does, by a Unix socket.

    Once that is full, it stays so until the client receives, while TCP has more on its way, and
    sends some more of it later by itself (RFC 9293, 3.8.6.1).
    """
    server, client = socket.socketpair()
    with server, client:
        client.settimeout(PATIENCE)
        yield server, client


@asynccontextmanager
async def talking(
    context: ssl.SSLContext,
    trusting: ssl.SSLContext,
    ends: Callable[[], AbstractContextManager[tuple[socket.socket, socket.socket]]] = connected,
) -> AsyncIterator[tuple[TlsStream, ssl.SSLSocket]]:
    """Yield a server and a client that have shaken hands; what the client does, waits."""
    with ends() as (server, client):
        stream = TlsStream(TlsSocket(server, context))
        async with stream:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.do_handshake)
                talker = await trio.to_thread.run_sync(
                    partial(trusting.wrap_socket, client, server_hostname="localhost")
                )
            with talker:
                yield stream, talker


def receive_all(client: socket.socket) -> bytes:
    """Return what comes until the end."""
    return b"".join(iter(partial(client.recv, 65_536), b""))


def reset(client: socket.socket) -> None:
    """Close a client's socket, so that the server is sent a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# The stream, as every stream of Trio's.


async def test_it_is_a_stream_of_trios(context: ssl.SSLContext, authority: Authority) -> None:
    async def pair() -> tuple[TlsStream, trio.SSLStream[trio.SocketStream]]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = await trio.open_tcp_stream(*listener.getsockname())
            server, _ = listener.accept()
        stream = TlsStream(TlsSocket(server, context))
        # Like most clients, it does not wait for our end when it closes.
        talker = trio.SSLStream(
            client, authority.trusting(), server_hostname="localhost", https_compatible=True
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.do_handshake)
            nursery.start_soon(talker.do_handshake)
        return stream, talker

    async def clogged() -> tuple[TlsStream, trio.SSLStream[trio.SocketStream]]:
        stream, talker = await pair()
        with suppress(BlockingIOError):
            while True:
                stream.socket.send(bytes(10_000))
        return stream, talker

    await trio.testing.check_two_way_stream(pair, None)
    await trio.testing.check_one_way_stream(pair, clogged)


async def test_what_is_sent_and_received_is_the_same(
    context: ssl.SSLContext, authority: Authority
) -> None:
    async with talking(context, authority.trusting()) as (stream, client):
        client.sendall(b"hello")
        assert await stream.receive_some(100) == b"hello"
        await stream.send_all(b"good")
        await stream.send_all(b"bye")
        await stream.aclose()
        assert receive_all(client) == b"goodbye"


async def test_a_unix_socket_does_as_well(context: ssl.SSLContext, authority: Authority) -> None:
    server, client = socket.socketpair()
    async with TlsStream(TlsSocket(server, context)) as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.do_handshake)
            talker = await trio.to_thread.run_sync(
                partial(authority.trusting().wrap_socket, client, server_hostname="localhost")
            )
        with talker:
            talker.sendall(b"hello")
            assert await stream.receive_some() == b"hello"


async def test_a_slow_reader_gets_all_of_a_big_reply(
    context: ssl.SSLContext, authority: Authority
) -> None:
    async with talking(context, authority.trusting()) as (stream, client):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, BIG)
            await trio.testing.wait_all_tasks_blocked()  # the sockets are full
            got = bytearray()
            while len(got) < len(BIG):
                got += await trio.to_thread.run_sync(client.recv, 7_000)
        assert got == BIG


async def test_a_send_to_a_client_that_does_not_read_can_be_given_up(
    context: ssl.SSLContext, authority: Authority, autojump_clock: trio.testing.MockClock
) -> None:
    async with talking(context, authority.trusting()) as (stream, client):
        with trio.move_on_after(30) as scope:
            await stream.send_all(BIG)
        assert scope.cancelled_caught
        await stream.aclose()
        cast("Any", client).suppress_ragged_eofs = False
        # It can tell that something is missing; old builds of Python have no class for that.
        with pytest.raises(ssl.SSLError, match=r"(?i)eof"):
            receive_all(client)


async def test_a_reset_is_a_broken_resource(context: ssl.SSLContext, authority: Authority) -> None:
    async with talking(context, authority.trusting()) as (stream, client):
        reset(client)
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"hello")
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_eof()


@pytest.mark.parametrize("size", [0, 32, 65_535])
async def test_a_forged_record_is_a_broken_resource(
    context: ssl.SSLContext, authority: Authority, size: int
) -> None:
    async with talking(context, authority.trusting()) as (stream, client):
        record = b"\x17\x03\x03" + size.to_bytes(2, "big") + bytes(size)  # of application data
        socket.socket.send(client, record)
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some(100)


# The socket, as the express lane uses it.


async def test_nothing_waits_and_flags_are_of_no_account(
    context: ssl.SSLContext, authority: Authority
) -> None:
    async with talking(context, authority.trusting()) as (stream, client):
        tls = stream.socket
        assert tls.fileno() >= 0
        with pytest.raises(BlockingIOError):
            tls.recv(65_536, socket.MSG_DONTWAIT)
        client.sendall(b"hello")
        await trio.lowlevel.wait_readable(tls)
        assert tls.recv(65_536, socket.MSG_DONTWAIT) == b"hello"
        assert tls.send(b"hello", socket.MSG_DONTWAIT) == 5
        assert client.recv(100) == b"hello"
        with pytest.raises(BlockingIOError):
            tls.send(BIG, socket.MSG_DONTWAIT)


async def test_what_the_socket_did_not_take_is_offered_again_from_another_place(
    context: ssl.SSLContext, authority: Authority
) -> None:
    async with talking(context, authority.trusting()) as (stream, client):
        with pytest.raises(BlockingIOError):
            stream.socket.send(BIG, socket.MSG_DONTWAIT)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, bytes(bytearray(BIG)))
            got = await trio.to_thread.run_sync(receive_exactly, client, len(BIG))
        assert got == BIG


def receive_exactly(client: socket.socket, size: int) -> bytes:
    """Return the next `size` bytes."""
    got = bytearray()
    while len(got) < size:
        got += client.recv(size - len(got))
    return bytes(got)


async def test_what_was_not_received_yet_is_still_in_the_socket(
    context: ssl.SSLContext, authority: Authority
) -> None:
    async with talking(context, authority.trusting()) as (stream, client):
        sent = BIG[:50_000]  # some records of full size, and one that is not
        client.sendall(sent)
        got = b""
        while len(got) < len(sent):
            await trio.lowlevel.wait_readable(stream.socket)  # never in vain
            got += stream.socket.recv(65_536)
        assert got == sent


async def test_it_is_closed_once_and_twice(context: ssl.SSLContext, authority: Authority) -> None:
    async with talking(context, authority.trusting()) as (stream, client):
        stream.socket.close()
        assert stream.socket.fileno() == -1
        stream.socket.close()
        cast("Any", client).suppress_ragged_eofs = False
        assert client.recv(100) == b""


# New keys, which a client may have at any time.


class Forger:
    """A client of TLS 1.3 that has sent nothing yet, and writes its records itself.

    Python's ssl does not ask for new keys, so this does what RFC 8446 says: 4.6.3 of the
    message, 7.2 and 7.3 of the keys, and 5.2 and 5.3 of the record.

    Args:
      log: the file that the client's secrets were written to.
    """

    def __init__(self, log: Path) -> None:
        [line] = [one for one in log.read_text().splitlines() if "CLIENT_TRAFFIC_SECRET_0" in one]
        self._secret = bytes.fromhex(line.split()[2])
        self._sent = 0  # records with these keys

    def data(self, data: bytes) -> bytes:
        """Return a record of data."""
        return self._record(data + b"\x17")

    def new_keys(self, *, of_both: bool = False) -> bytes:
        """Return the record after which this client has new keys, and asks for the server's."""
        record = self._record(bytes([24, 0, 0, 1, of_both]) + b"\x16")
        self._secret = self._expand("traffic upd", 48)
        self._sent = 0
        return record

    def _record(self, inner: bytes) -> bytes:
        nonce = int.from_bytes(self._expand("iv", 12), "big") ^ self._sent
        self._sent += 1
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        cipher = AESGCM(self._expand("key", 32))
        return header + cipher.encrypt(nonce.to_bytes(12, "big"), inner, header)

    def _expand(self, label: str, length: int) -> bytes:
        name = b"tls13 " + label.encode()
        info = length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\x00"
        return HKDFExpand(SHA384(), length, info).derive(self._secret)


@asynccontextmanager
async def forging(
    context: ssl.SSLContext,
    trusting: ssl.SSLContext,
    log: Path,
    ends: Callable[[], AbstractContextManager[tuple[socket.socket, socket.socket]]] = connected,
) -> AsyncIterator[tuple[TlsStream, ssl.SSLSocket, Forger]]:
    """Yield a server, a client that is only received by, and what forges that client's records."""
    trusting.keylog_filename = str(log)
    async with talking(context, trusting, ends) as (stream, client):
        assert client.cipher() == ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256)
        yield stream, client, Forger(log)


async def test_every_change_of_keys_takes_a_turn_of_its_own(
    context: ssl.SSLContext, authority: Authority, tmp_path: Path
) -> None:
    changes = 200
    client = authority.trusting()
    async with forging(context, client, tmp_path / "log") as (stream, talker, forger):
        records = [forger.new_keys() for _ in range(changes)]
        socket.socket.sendall(talker, b"".join(records) + forger.data(b"hello"))
        for _ in range(changes):
            await trio.lowlevel.wait_readable(stream.socket)
            # Or who sends them without an end would have the server for ever.
            with pytest.raises(BlockingIOError):
                stream.socket.recv(65_536)
        await trio.lowlevel.wait_readable(stream.socket)
        assert stream.socket.recv(65_536) == b"hello"


async def test_a_client_that_asks_for_new_keys_gets_them(
    context: ssl.SSLContext, authority: Authority, tmp_path: Path
) -> None:
    client = authority.trusting()
    async with forging(context, client, tmp_path / "log") as (stream, talker, forger):
        socket.socket.sendall(talker, forger.new_keys(of_both=True))
        await trio.lowlevel.wait_readable(stream.socket)
        with pytest.raises(BlockingIOError):
            stream.socket.recv(65_536)
        await stream.send_all(b"with new keys")
        assert talker.recv(100) == b"with new keys"


async def test_nothing_is_received_as_long_as_the_socket_is_full(
    context: ssl.SSLContext, authority: Authority, tmp_path: Path
) -> None:
    client = authority.trusting()
    async with forging(context, client, tmp_path / "log", paired) as (stream, talker, forger):
        with pytest.raises(BlockingIOError):
            stream.socket.send(BIG)
        [held] = struct.unpack("i", fcntl.ioctl(talker, termios.FIONREAD, bytes(4)))
        records = held // (RECORD_BYTES + 22)  # each with a header, its type and its tag
        socket.socket.sendall(talker, forger.new_keys(of_both=True) + forger.data(b"hello"))
        await trio.lowlevel.wait_readable(stream.socket)
        # Or answers to what is no data would pile up for a client that does not read.
        with pytest.raises(ssl.SSLWantWriteError):
            stream.socket.recv(65_536)

        got = []

        async def receive() -> None:
            got.append(await stream.receive_some())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.to_thread.run_sync(receive_exactly, talker, records * RECORD_BYTES)
        assert got == [b"hello"]


async def test_a_client_of_1_2_can_not_begin_anew(authority: Authority) -> None:
    settings = TlsSettings(*authority.write_server(), minimum=TlsVersion.TLS_1_2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with subprocess.Popen(
            [tool("openssl"), "s_client", "-connect", address, "-tls1_2"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as client:
            assert client.stdin is not None
            listener.settimeout(PATIENCE)
            server, _ = await trio.to_thread.run_sync(listener.accept)
            async with TlsStream(TlsSocket(server, Certificates(settings).context)) as stream:
                with trio.fail_after(PATIENCE):
                    await stream.do_handshake()
                    client.stdin.write(b"R\n")  # it does not send this, it does it
                    client.stdin.flush()
                    with pytest.raises(trio.BrokenResourceError, match="handshake failure"):
                        await stream.receive_some()


# How a conversation ends.


async def test_a_client_that_ends_its_input_gets_all_replies(
    context: ssl.SSLContext, authority: Authority
) -> None:
    async with talking(context, authority.trusting()) as (stream, client):
        client.sendall(b"hello")
        client.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            client.unwrap()  # sends close_notify, and does not wait for ours
        client.settimeout(PATIENCE)
        assert await stream.receive_some() == b"hello"
        assert await stream.receive_some() == b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, BIG)
            got = await trio.to_thread.run_sync(receive_exactly, client, len(BIG))
        assert got == BIG
        await stream.aclose()
        await trio.to_thread.run_sync(client.unwrap)  # our close_notify has come


async def test_an_end_by_tcp_alone_is_an_end_of_input(
    context: ssl.SSLContext, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "cipherecho")
    async with talking(context, authority.trusting()) as (stream, client):
        client.sendall(b"hello")
        socket.socket.shutdown(client, socket.SHUT_WR)  # with no close_notify
        assert await stream.receive_some() == b"hello"
        assert await stream.receive_some() == b""
        await stream.send_all(b"goodbye")
        await stream.aclose()
        assert receive_all(client) == b"goodbye"
    [record] = caplog.records
    assert (record.levelno, record.getMessage()) == (
        logging.DEBUG,
        "a client ended its input by TCP alone",
    )


async def test_last_words_arrive_though_the_client_still_sends(
    context: ssl.SSLContext, authority: Authority
) -> None:
    async with talking(context, authority.trusting()) as (stream, client):
        client.sendall(b"never read")
        await stream.send_all(b"last words")
        await stream.send_eof()
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"more")
        await stream.send_eof()  # again does no harm
        client.sendall(b"never read either")
        cast("Any", client).suppress_ragged_eofs = False
        assert client.recv(100) == b"last words"
        assert client.recv(100) == b""
        client.close()
        while await stream.receive_some():
            pass  # what it sent, not decrypted


async def test_closing_does_not_wait_in_the_middle_of_a_handshake(
    context: ssl.SSLContext,
) -> None:
    with connected() as (server, client):
        stream = TlsStream(TlsSocket(server, context))
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _shake_hands() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await stream.do_handshake()

            await trio.testing.wait_all_tasks_blocked()
            await stream.aclose()
        assert client.recv(100) == b""


# Handshakes that fail.


async def refusal(stream: TlsStream) -> str:
    """Return why the handshake failed."""
    with pytest.raises(TlsHandshakeError) as caught:
        await stream.do_handshake()
    assert caught.value.reason in str(caught.value)
    return caught.value.reason


async def test_a_client_that_is_silent_is_given_up_by_the_caller(
    context: ssl.SSLContext, autojump_clock: trio.testing.MockClock
) -> None:
    with connected() as (server, client):
        async with TlsStream(TlsSocket(server, context)) as stream:
            client.sendall(b"\x16\x03\x01")  # so TLS begins
            with trio.move_on_after(10) as scope:
                await stream.do_handshake()
            assert scope.cancelled_caught
        assert client.recv(100) == b""


@pytest.mark.parametrize(
    "text", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"hello, is anybody there?\n", b"\n" * 100]
)
async def test_plaintext_is_told_from_tls(context: ssl.SSLContext, text: bytes) -> None:
    with connected() as (server, client):
        async with TlsStream(TlsSocket(server, context)) as stream:
            client.sendall(text)
            assert await refusal(stream) == "plaintext"


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_may_go_in_the_handshake(context: ssl.SSLContext, begun: bool) -> None:
    for leave, reason in ((reset, "reset"), (socket.socket.close, "ended by the client")):
        with connected() as (server, client):
            async with TlsStream(TlsSocket(server, context)) as stream:
                if begun:
                    client.sendall(b"\x16\x03\x01")
                leave(client)
                assert await refusal(stream) == reason


async def test_a_client_may_have_gone_before(context: ssl.SSLContext) -> None:
    with connected() as (server, client):
        client.sendall(b"hello")
        reset(client)
        async with TlsStream(TlsSocket(server, context)) as stream:
            assert await refusal(stream) in ("plaintext", "reset")


async def failing(context: ssl.SSLContext, trusting: ssl.SSLContext) -> tuple[str, str | None]:
    """Return why the server says that the handshake failed, and what the client is told."""
    with connected() as (server, client):

        def shake_hands() -> str | None:
            try:
                with trusting.wrap_socket(client, server_hostname="localhost") as talker:
                    talker.sendall(b"in TLS 1.3 the client is done before the server")
                    talker.recv(1)
            except ssl.SSLError as error:
                return error.reason
            return None

        async with TlsStream(TlsSocket(server, context)) as stream:
            async with trio.open_nursery() as nursery:
                told: list[str | None] = []

                @nursery.start_soon
                async def _shake_hands() -> None:
                    told.append(await trio.to_thread.run_sync(shake_hands))

                reason = await refusal(stream)
                with suppress(trio.BrokenResourceError):  # it went away by itself
                    await stream.send_eof()
                    while await stream.receive_some():
                        pass
        return reason, told[0]


async def test_an_older_version_is_refused(context: ssl.SSLContext, authority: Authority) -> None:
    client = authority.trusting()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await failing(context, client) == (
        "protocol version; --tls-min 1.2 admits clients that speak TLS 1.2",
        "TLSV1_ALERT_PROTOCOL_VERSION",
    )


async def test_a_client_that_does_not_trust_us_says_so(
    context: ssl.SSLContext, tmp_path: Path
) -> None:
    client = Authority.at(tmp_path / "other").trusting()
    reason, _ = await failing(context, client)
    assert reason == "refused by the client: unknown ca"


@pytest.mark.parametrize(
    ("fault", "reason", "told"),
    [
        ("none", "no certificate", "TLSV13_ALERT_CERTIFICATE_REQUIRED"),
        ("expired", "expired certificate", "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
        ("other root", "unknown CA", "TLSV1_ALERT_UNKNOWN_CA"),
    ],
)
async def test_a_client_is_told_what_is_wrong_with_its_certificate(
    authority: Authority, tmp_path: Path, fault: str, reason: str, told: str
) -> None:
    certificates: dict[str, Callable[[], tuple[Path, Path] | None]] = {
        "none": lambda: None,
        "expired": authority.write_expired_client,
        "other root": lambda: Authority.at(tmp_path / "other").write_client("mallory"),
    }
    certificate = certificates[fault]()
    settings = TlsSettings(*authority.write_server(), client_ca=authority.root)
    client = authority.trusting(certificate)
    assert await failing(Certificates(settings).context, client) == (reason, told)


# Who the client is.


async def test_the_client_is_named_by_its_certificate(authority: Authority) -> None:
    context = Certificates(
        TlsSettings(
            *authority.write_server(), client_ca=authority.root, client_auth=ClientAuth.OPTIONAL
        )
    ).context
    for certificate, name in (
        (authority.write_client("alice"), "CN=alice"),
        (authority.write_client(None), "email=client@example.org"),
        (None, ""),
    ):
        async with talking(context, authority.trusting(certificate)) as (stream, _):
            assert stream.socket.peer_subject() == name


async def test_a_client_that_was_not_asked_has_no_name(
    context: ssl.SSLContext, authority: Authority
) -> None:
    async with talking(context, authority.trusting()) as (stream, _):
        assert stream.socket.peer_subject() == ""
