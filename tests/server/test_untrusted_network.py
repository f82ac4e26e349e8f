"""The server against a network that nobody can trust: TLS, PROXY headers and sources gone wrong.

What a client does is written as plainly as it can be, with sockets that wait, so the server
has a thread of its own.  Every wait is for something to happen, and bounded.
"""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import trio

from cipherecho.connections.buffers import Buffers
from cipherecho.connections.counters import Counters, Ended, Refused
from cipherecho.network.certificates import Certificates, PemFiles, TlsError
from cipherecho.network.listeners import open_listeners
from cipherecho.rot13 import Rot13
from cipherecho.server import serve
from cipherecho.settings.endpoint import Endpoint, TcpEndpoint
from cipherecho.settings.limits import Limits
from cipherecho.settings.tls import TlsSettings, TlsVersion
from cipherecho.settings.trusted_proxies import TrustedProxies
from tests.helpers.certificates import ODD, Authority
from tests.helpers.proxy_headers import SIGNATURE, addition, tcp4, tcp6, unix
from tests.helpers.running import (
    PATIENCE,
    Output,
    ask,
    both,
    ending,
    receive_all,
    receive_lines,
    run_program,
    tool,
)
from tests.helpers.settled import check_settled

HELLO = b"Hello\n"
URYYB = both(HELLO)

# Enough that it takes the server several turns.
MANY_LINES = b"".join(b"line %d\n" % number for number in range(20_000))

# Other addresses of this machine, where the whole of 127.0.0.0/8 is ours.
ELSEWHERE = "127.0.0.2"


@pytest.fixture(autouse=True)
def _driven(express: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every test here run with both drivers."""
    monkeypatch.setattr(Served, "express", express)


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged: never a traceback, whatever the network does."""
    caplog.set_level("DEBUG", "cipherecho")
    yield caplog
    assert all(record.exc_info is None for record in caplog.records)
    assert all(record.levelname != "ERROR" for record in caplog.records)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.at(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> TlsSettings:
    return TlsSettings(*authority.write_server())


@pytest.fixture(scope="module")
def trusting(authority: Authority) -> ssl.SSLContext:
    return authority.trusting()


class Served:
    """A running server, and ways to talk to it; the last of its endpoints has TLS, if any has."""

    express = True

    def __init__(self, certificates: Certificates | None) -> None:
        self.certificates = certificates
        self.counters = Counters()
        self.buffers = Buffers()
        self.endpoints: Sequence[Endpoint] = ()
        self.run_there: Callable[[Callable[[], None]], None] = lambda what: what()
        """Call something in the server's thread."""

    @property
    def port(self) -> int:
        endpoint = self.endpoints[-1]
        assert isinstance(endpoint, TcpEndpoint)
        return endpoint.port

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """Return a connection from an address of this machine; no call on it waits for ever."""
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE, (source, 0))

    def secure(self, trusting: ssl.SSLContext, source: str = "127.0.0.1") -> ssl.SSLSocket:
        """Return a connection after its TLS handshake."""
        return secured(self.connect(source), trusting)

    def ask(self, data: bytes, source: str = "127.0.0.1") -> bytes:
        """Return all that a client gets that sends `data` and half-closes."""
        with self.connect(source) as client:
            return ask(client, data)

    def reload(self) -> None:
        """Load its certificates anew."""
        assert self.certificates is not None
        self.certificates.reload(PemFiles())

    def ask_until(self, data: bytes, answer: bytes) -> None:
        """Ask again and again until the answer is this; what is given back may take a moment."""
        for _ in range(10_000):
            if self.ask(data) == answer:
                return
        pytest.fail(f"never got {answer!r}")


@contextmanager
def serving(
    tls: TlsSettings | None = None, limits: Limits | None = None, proxies: Sequence[str] = ()
) -> Iterator[Served]:
    """Run a server; at the end it is shut down, and has to have lost count of nobody."""
    server = Served(None if tls is None else Certificates(tls))
    started, stop = Event(), trio.Event()

    async def run() -> None:
        server.run_there = partial(
            trio.from_thread.run_sync, trio_token=trio.lowlevel.current_trio_token()
        )
        endpoint = TcpEndpoint("127.0.0.1", 0, tls=tls is not None)
        with trio.fail_after(3 * PATIENCE):
            async with (
                open_listeners([endpoint], server.certificates) as listeners,
                trio.open_nursery() as nursery,
            ):
                server.endpoints = await nursery.start(
                    partial(
                        serve,
                        listeners,
                        Rot13(),
                        limits,
                        proxies=TrustedProxies(proxies),
                        express=Served.express,
                        counters=server.counters,
                        buffers=server.buffers,
                        shutdown=stop,
                    )
                )
                started.set()

    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(trio.run, run)
        running.add_done_callback(lambda _: started.set())
        assert started.wait(PATIENCE)
        try:
            yield server
        finally:
            with suppress(trio.RunFinishedError):  # its result says why
                server.run_there(stop.set)
            running.result(PATIENCE)
    check_settled(server.counters, server.buffers)


def secured(client: socket.socket, trusting: ssl.SSLContext) -> ssl.SSLSocket:
    """Return a connection with TLS on it; whatever becomes of it, the plain one is closed."""
    try:
        return trusting.wrap_socket(client, server_hostname="localhost", suppress_ragged_eofs=False)
    except BaseException:
        client.close()
        raise


def reset(client: socket.socket) -> None:
    """Close with a reset instead of a farewell."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def end_by_tcp(client: ssl.SSLSocket) -> None:
    """End the input of a TLS connection as by plain TCP, with no close_notify."""
    socket.socket.shutdown(client, socket.SHUT_WR)


def client_hello() -> bytes:
    """Return the first that a TLS client sends."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(
        ssl.MemoryBIO(), outgoing, server_hostname="localhost"
    )
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


CLIENT_HELLO = client_hello()


def remains(client: socket.socket) -> bytes:
    """Return what comes until the connection ends, in whatever way."""
    received = b""
    with suppress(ConnectionResetError):
        while data := client.recv(65_536):
            received += data
    return received


def refusals(log: pytest.LogCaptureFixture) -> list[str]:
    """Return what was told of connections that were refused, from the reason on."""
    messages = [record.getMessage() for record in log.records]
    return [
        message.partition(" reason=")[2] for message in messages if message.startswith("refused")
    ]


def peers(log: pytest.LogCaptureFixture) -> list[str]:
    """Return the addresses of clients that were served, as the log has them."""
    messages = [record.getMessage() for record in log.records]
    closed = [message for message in messages if message.startswith("closed: peer=")]
    return [message.removeprefix("closed: peer=").partition(" ")[0] for message in closed]


# TLS: handshakes that come to nothing


@pytest.mark.parametrize("size", [0, 1, 3, 5, 100, len(CLIENT_HELLO) - 1, len(CLIENT_HELLO)])
def test_silence_in_a_handshake_is_ended_in_time_and_holds_up_nobody(
    size: int, tls: TlsSettings, trusting: ssl.SSLContext, log: pytest.LogCaptureFixture
) -> None:
    with serving(tls, Limits(handshake_timeout=0.2)) as server, server.connect() as silent:
        silent.sendall(CLIENT_HELLO[:size])
        with server.secure(trusting) as client:
            client.sendall(HELLO)
            assert receive_lines(client, 2) == URYYB
        assert b"\nUryyb" not in remains(silent)
    assert server.counters.refused[Refused.TLS_HANDSHAKE] == 1
    assert refusals(log) == ["'TLS handshake' detail='it took too long'"]


def test_a_handshake_that_goes_on_and_on_is_refused(
    tls: TlsSettings, trusting: ssl.SSLContext, log: pytest.LogCaptureFixture
) -> None:
    """OpenSSL would keep nearly twice what came, up to some 240 KiB for each such client."""
    record = b"\x16\x03\x01\x40\x00"
    hello = b"\x01\x01\xff\x00\x03\x03" + bytes(16_384 - 6)
    with serving(tls) as server:
        with server.connect() as client:
            client.sendall(record + hello)
            with server.secure(trusting) as other:
                other.sendall(HELLO)
                assert receive_lines(other, 2) == URYYB
            client.sendall(record + bytes(16_384))
            assert b"Uryyb" not in remains(client)
    assert server.counters.refused[Refused.TLS_HANDSHAKE] == 1
    assert refusals(log) == ["'TLS handshake' detail='handshake too long'"]


@pytest.mark.parametrize("text", [HELLO, b"GET / HTTP/1.1\r\n\r\n", b"\n" * 10_000, b"\0" * 5])
def test_plaintext_to_a_tls_port_is_refused(
    text: bytes, tls: TlsSettings, trusting: ssl.SSLContext, log: pytest.LogCaptureFixture
) -> None:
    with serving(tls) as server:
        with server.connect() as client:
            client.sendall(text)
            assert b"Uryyb" not in remains(client)
        with server.secure(trusting) as client:
            client.sendall(HELLO)
            assert receive_lines(client, 2) == URYYB
    assert server.counters.refused[Refused.TLS_HANDSHAKE] == 1
    assert refusals(log) == ["'TLS handshake' detail='plaintext'"]


def test_a_reset_at_any_moment_of_a_handshake_ends_that_connection_alone(
    tls: TlsSettings, trusting: ssl.SSLContext
) -> None:
    with serving(tls) as server, server.secure(trusting) as bystander:
        sizes = [0, 1, 5, 6, 50, len(CLIENT_HELLO) - 1, len(CLIENT_HELLO)]
        for size in sizes:
            in_backlog = server.connect()
            in_backlog.sendall(CLIENT_HELLO[:size])
            reset(in_backlog)
            seen = server.connect()
            seen.sendall(CLIENT_HELLO[:size])
            bystander.sendall(HELLO)  # the server has its turns
            assert receive_lines(bystander, 2) == URYYB
            reset(seen)
        answered = server.connect()
        answered.sendall(CLIENT_HELLO)
        assert answered.recv(5)  # the rest stays unread
        reset(answered)
        done = server.secure(trusting)  # the server may not know yet that it is
        reset(done)
        bystander.sendall(HELLO)
        assert receive_lines(bystander, 2) == URYYB
    assert server.counters.accepted == 1 + 2 * len(sizes) + 2
    assert server.counters.refused[Refused.TLS_HANDSHAKE] >= 2 * len(sizes) + 1


@pytest.mark.parametrize("at_once", [False, True], ids=["waits", "sends at once"])
@pytest.mark.parametrize(
    ("fault", "detail", "told"),
    [
        ("none", "no certificate", "TLSV13_ALERT_CERTIFICATE_REQUIRED"),
        ("expired", "expired certificate", "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
        ("other root", "unknown CA", "TLSV1_ALERT_UNKNOWN_CA"),
    ],
)
def test_a_client_always_hears_what_is_wrong_with_its_certificate(
    fault: str,
    detail: str,
    told: str,
    at_once: bool,
    authority: Authority,
    tmp_path: Path,
    log: pytest.LogCaptureFixture,
) -> None:
    certificates: dict[str, Callable[[], tuple[Path, Path] | None]] = {
        "none": lambda: None,
        "expired": authority.write_expired_client,
        "other root": lambda: Authority.at(tmp_path / "other").write_client("mallory"),
    }
    certificate = certificates[fault]()
    wrong, right = authority.trusting(certificate), authority.trusting(authority.write_client("a"))
    with serving(TlsSettings(*authority.write_server(), client_ca=authority.root)) as server:
        for _ in range(20):
            # In TLS 1.3 the client is done before the server has seen its certificate.
            with server.secure(wrong) as client:
                if at_once:
                    client.sendall(MANY_LINES[:50_000])
                with pytest.raises(ssl.SSLError) as caught:
                    client.recv(1)
                assert caught.value.reason == told
        with server.secure(right) as client:
            client.sendall(HELLO)
            assert receive_lines(client, 2) == URYYB
    assert server.counters.refused[Refused.TLS_HANDSHAKE] == 20
    assert refusals(log)[0] == f"'TLS handshake' detail={detail!r}"


@pytest.mark.parametrize("kind", ODD)
def test_a_certificate_that_python_can_not_decode_is_one_like_others(
    kind: str, authority: Authority, log: pytest.LogCaptureFixture
) -> None:
    tls = TlsSettings(*authority.write_server(), client_ca=authority.root)
    with serving(tls) as server:
        for _ in range(2):
            trusting = authority.trusting(authority.write_odd_client(kind))
            with server.secure(trusting) as client:
                client.sendall(HELLO)
                assert receive_lines(client, 2) == URYYB
    ends: list[Any] = [record.args for record in log.records if "closed" in record.message]
    assert {fields["certificate"] for fields in ends} == {ODD[kind]}


def test_the_client_may_refuse_the_server(
    tls: TlsSettings, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    distrusting = Authority.at(tmp_path / "other").trusting()
    with serving(tls) as server, pytest.raises(ssl.SSLCertVerificationError):
        server.secure(distrusting)
    assert server.counters.refused[Refused.TLS_HANDSHAKE] == 1
    assert refusals(log) == ["'TLS handshake' detail='refused by the client: unknown ca'"]


def test_tls_1_2_is_refused_unless_it_is_asked_for(authority: Authority) -> None:
    old = authority.trusting()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    files = authority.write_server()
    with serving(TlsSettings(*files)) as server, pytest.raises(ssl.SSLError) as caught:
        server.secure(old)
    assert caught.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"
    assert server.counters.refused[Refused.TLS_HANDSHAKE] == 1
    with serving(TlsSettings(*files, minimum=TlsVersion.TLS_1_2)) as server:
        with server.secure(old) as client:
            assert client.version() == "TLSv1.2"
            client.sendall(HELLO)
            assert receive_lines(client, 2) == URYYB


# TLS: how connections end


def test_a_client_that_half_closes_by_close_notify_gets_all_replies(
    tls: TlsSettings, trusting: ssl.SSLContext
) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()  # Python's sockets close both ways
    talker = trusting.wrap_bio(incoming, outgoing, server_hostname="localhost")
    received = b""
    with serving(tls) as server, server.connect() as client:

        def go_on(step: Callable[[], bytes | None]) -> bytes | None:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    client.sendall(outgoing.read())
                    incoming.write(client.recv(65_536))

        go_on(talker.do_handshake)
        talker.write(HELLO * 1000 + b"the last")
        with pytest.raises(ssl.SSLWantReadError):
            talker.unwrap()
        expected = URYYB * 1000 + both(b"the last\n")
        while len(received) < len(expected):
            received += go_on(talker.read) or b""
        with pytest.raises(ssl.SSLZeroReturnError):  # the server's close_notify
            go_on(talker.read)
    assert received == expected
    assert server.counters.closed[Ended.END_OF_INPUT] == 1


def test_a_client_that_half_closes_by_tcp_alone_gets_all_replies(
    tls: TlsSettings, trusting: ssl.SSLContext
) -> None:
    with serving(tls) as server, server.secure(trusting) as client:
        client.sendall(MANY_LINES)  # it fits the buffers on the way
        end_by_tcp(client)
        # The server's own end of TLS comes too, or this would raise.
        assert receive_all(client) == both(MANY_LINES)
    assert server.counters.closed[Ended.END_OF_INPUT] == 1


def test_a_client_that_goes_with_no_close_notify_has_ended_its_input(
    tls: TlsSettings, trusting: ssl.SSLContext
) -> None:
    with serving(tls) as server:
        for _ in range(10):
            client = server.secure(trusting)
            client.sendall(HELLO)
            assert receive_lines(client, 2) == URYYB
            client.close()
    assert server.counters.closed[Ended.END_OF_INPUT] == 10


def test_a_reset_after_the_handshake_ends_that_connection_alone(
    tls: TlsSettings, trusting: ssl.SSLContext
) -> None:
    with serving(tls) as server, server.secure(trusting) as bystander:
        for data in (b"", b"mid-line", MANY_LINES[:30_000]):
            client = server.secure(trusting)
            client.sendall(data)
            bystander.sendall(HELLO)
            assert receive_lines(bystander, 2) == URYYB
            reset(client)
    assert server.counters.accepted == 4
    assert server.counters.closed[Ended.TLS_ERROR] == 0


def test_what_is_no_record_of_tls_ends_that_connection_alone(
    tls: TlsSettings, trusting: ssl.SSLContext
) -> None:
    with serving(tls) as server, server.secure(trusting) as bystander:
        forged = server.secure(trusting)
        with socket.socket(fileno=forged.detach()) as below:
            below.settimeout(PATIENCE)
            below.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            remains(below)
        bystander.sendall(HELLO)
        assert receive_lines(bystander, 2) == URYYB
    assert server.counters.closed[Ended.TLS_ERROR] == 1


# TLS: certificates reloaded in traffic


def certificate_of(client: ssl.SSLSocket) -> bytes | None:
    """Return what the server showed a client."""
    return client.getpeercert(binary_form=True)


def test_after_a_reload_open_connections_go_on_and_new_ones_get_the_new_certificate(
    tmp_path: Path,
) -> None:
    authority = Authority.at(tmp_path)
    trusting = authority.trusting()
    with serving(TlsSettings(*authority.write_server())) as server:
        with server.secure(trusting) as old, server.connect() as between:
            between.sendall(CLIENT_HELLO[:10])  # its handshake has begun, or is about to
            old.sendall(b"Hel")
            authority.write_server()
            server.run_there(server.reload)
            with server.secure(trusting) as new:
                assert certificate_of(new) != certificate_of(old)
                for client, rest in ((old, b"lo\n"), (new, HELLO)):
                    client.sendall(rest)
                    assert receive_lines(client, 2) == URYYB
            reset(between)


@pytest.mark.parametrize("fault", ["no certificate", "another key", "no file"])
def test_an_invalid_reload_keeps_what_was(fault: str, tmp_path: Path) -> None:
    authority = Authority.at(tmp_path)
    trusting = authority.trusting()
    certificate, key = authority.write_server()
    with serving(TlsSettings(certificate, key)) as server, server.secure(trusting) as old:
        if fault == "no certificate":
            certificate.write_text("half a fi")
        elif fault == "another key":
            key.write_bytes(authority.write_server("other")[1].read_bytes())
        else:
            certificate.unlink()
        with pytest.raises(TlsError):
            server.run_there(server.reload)
        with server.secure(trusting) as new:
            assert certificate_of(new) == certificate_of(old)
            for client in (old, new):
                client.sendall(HELLO)
                assert receive_lines(client, 2) == URYYB


# TLS: clients of other people


def test_openssl_s_client_is_served(tls: TlsSettings, authority: Authority) -> None:
    with serving(tls) as server:
        command = [tool("openssl"), "s_client", "-quiet", "-verify_return_error"]
        where = ["-connect", f"127.0.0.1:{server.port}", "-CAfile", str(authority.root)]
        pipe = subprocess.PIPE
        with ending(
            subprocess.Popen([*command, *where], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            output = Output(process.stdout)
            process.stdin.write(HELLO * 1000)
            process.stdin.flush()
            assert output.wait_for(len(URYYB) * 1000) == URYYB * 1000
            process.kill()
            output.close()
    assert server.counters.ended.lines == 1000


def test_ncat_is_served_and_gets_the_last_reply(tls: TlsSettings, authority: Authority) -> None:
    with serving(tls) as server:
        trust = ["--ssl", "--ssl-verify", "--ssl-trustfile", str(authority.root)]
        ended = run_program(
            tool("ncat"), *trust, "localhost", str(server.port), stdin=HELLO * 1000 + b"the last"
        )
    assert (ended.status, ended.stdout) == (0, URYYB * 1000 + both(b"the last\n"))


# PROXY headers: what is let through

# Section numbers are those of HAProxy's doc/proxy-protocol.txt.
PROXIES = ["127.0.0.1"]
LINE = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"
LONGEST_UNKNOWN = b"PROXY UNKNOWN ".ljust(105, b"x") + b"\r\n"  # section 2.1: 107 bytes

GIVEN = {
    "version 1": (LINE, "192.0.2.1:56324"),
    "version 2": (tcp4(), "192.0.2.1:56324"),
    "version 2, IPv6": (tcp6(), "[2001:db8::1]:56324"),
    "version 2, with 3 KiB more": (tcp4(more=addition(0xE0, bytes(3000))), "192.0.2.1:56324"),
    "version 2, Unix": (unix(), "unix"),
}
NOBODY = {
    "UNKNOWN": b"PROXY UNKNOWN\r\n",
    "UNKNOWN, 107 bytes": LONGEST_UNKNOWN,
    "LOCAL": SIGNATURE + b"\x20\x00\x00\x00",
    "LOCAL, with addresses": SIGNATURE + b"\x20\x11\x00\x0c" + bytes(12),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_a_client_has_the_address_that_its_proxy_gives(
    kind: str, log: pytest.LogCaptureFixture
) -> None:
    header, peer = GIVEN[kind]
    with serving(proxies=PROXIES) as server:
        assert server.ask(header + HELLO) == URYYB  # header and line in one segment
        with server.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in header + HELLO:
                client.send(bytes([byte]))
            assert receive_lines(client, 2) == URYYB
    assert peers(log) == [peer, peer]


@pytest.mark.parametrize("kind", NOBODY)
def test_a_proxy_that_speaks_for_nobody_is_the_client(
    kind: str, log: pytest.LogCaptureFixture
) -> None:
    with serving(proxies=PROXIES) as server:
        assert server.ask(NOBODY[kind] + HELLO) == URYYB
    [peer] = peers(log)
    assert peer.startswith("127.0.0.1:")


def test_a_second_header_is_a_line() -> None:
    with serving(proxies=PROXIES) as server:
        assert server.ask(LINE + LINE) == LINE + b"CEBKL GPC4 192.0.2.1 198.51.100.1 56324 443\r\n"


@pytest.mark.parametrize("header", [LINE, tcp4(), b"PROXY nonsense\n"], ids=["1", "2", "none"])
def test_from_any_other_peer_a_header_is_a_line_that_is_answered(
    header: bytes, log: pytest.LogCaptureFixture
) -> None:
    with serving(proxies=[ELSEWHERE]) as server:
        assert server.ask(header + HELLO) == both(header + HELLO)
    [peer] = peers(log)
    assert peer.startswith("127.0.0.1:")


# PROXY headers: what is not

WRONG = {
    "a line": HELLO,
    "TLS": CLIENT_HELLO,
    "LF alone": b"PROXY UNKNOWN\n" + HELLO,
    "LF alone after addresses": LINE.replace(b"\r\n", b"\n") + HELLO,
    "108 bytes": b"PROXY UNKNOWN ".ljust(106, b"x") + b"\r\n",
    "no end": b"PROXY UNKNOWN " + b"x" * 100_000,
    "an addition longer than the header": tcp4(more=b"\xe0\xff\xff" + bytes(10)) + HELLO,
    "an addition longer than any header": tcp4(more=addition(0xE0, bytes(5000))) + HELLO,
    "ended": LINE[:20],
    "ended before it began": b"",
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_proxy_that_sends_no_valid_header_is_closed_unanswered(kind: str) -> None:
    with serving(proxies=PROXIES) as server:
        with server.connect() as client:
            with suppress(OSError):  # the server closes as soon as it is sure
                client.sendall(WRONG[kind])
                client.shutdown(socket.SHUT_WR)
            assert remains(client) == b""
        assert server.ask(LINE + HELLO) == URYYB
    assert server.counters.refused[Refused.PROXY_HEADER] == 1


@pytest.mark.parametrize("size", [0, 1, 20, len(LINE) - 1])
def test_silence_in_a_header_is_ended_in_time(size: int, log: pytest.LogCaptureFixture) -> None:
    with serving(limits=Limits(handshake_timeout=0.2), proxies=PROXIES) as server:
        with server.connect() as silent:
            silent.sendall(LINE[:size])
            assert server.ask(LINE + HELLO) == URYYB
            assert remains(silent) == b""
    assert refusals(log) == ["'PROXY header' detail='it took too long'"]


def test_a_reset_in_a_header_ends_that_connection_alone() -> None:
    with serving(proxies=PROXIES) as server:
        for size in range(len(LINE) + 1):
            client = server.connect()
            client.sendall(LINE[:size])
            reset(client)
        assert server.ask(LINE + HELLO) == URYYB
    assert server.counters.accepted == len(LINE) + 2


# PROXY, then TLS


@pytest.mark.parametrize("header", [LINE, tcp4()], ids=["version 1", "version 2"])
def test_a_header_comes_before_the_tls_handshake(
    header: bytes, tls: TlsSettings, trusting: ssl.SSLContext, log: pytest.LogCaptureFixture
) -> None:
    with serving(tls, proxies=PROXIES) as server:
        for flags in (0, getattr(socket, "MSG_MORE", 0)):  # by itself; with what follows it
            client = server.connect()
            client.send(header, flags)
            with secured(client, trusting) as client:
                client.sendall(HELLO)
                assert receive_lines(client, 2) == URYYB
                end_by_tcp(client)
                assert receive_all(client) == b""
    assert peers(log) == ["192.0.2.1:56324"] * 2


def test_a_header_and_a_handshake_share_their_time(
    tls: TlsSettings, log: pytest.LogCaptureFixture
) -> None:
    with serving(tls, Limits(handshake_timeout=0.2), PROXIES) as server:
        with server.connect() as client:
            client.sendall(LINE + CLIENT_HELLO[:-1])
            remains(client)
    assert refusals(log) == ["'TLS handshake' detail='it took too long'"]
    assert "peer=192.0.2.1:56324" in log.text


def test_tls_comes_without_a_header_from_a_proxy_to_no_avail(
    tls: TlsSettings, trusting: ssl.SSLContext
) -> None:
    with serving(tls, proxies=PROXIES) as server, pytest.raises(OSError):  # noqa: PT011
        server.secure(trusting)
    assert server.counters.refused[Refused.PROXY_HEADER] == 1


# Sources

SOURCE_FULL = (
    b"!error: your address has 10 connections, which is the limit; closing, end one of them first\n"
)
SOURCE_RATE = (
    b"!error: your address begins more than 1e-06 connections a second; closing, try again later\n"
)
ALMOST_NEVER = 1e-6


def test_a_thousand_connections_of_one_source_leave_the_others_served() -> None:
    with serving(limits=Limits(max_connections_per_source=10)) as server, ExitStack() as stack:
        held = [stack.enter_context(server.connect()) for _ in range(10)]
        for client in held:
            client.sendall(HELLO)
            assert receive_lines(client, 2) == URYYB
        told = 0
        for _ in range(10):
            with ExitStack() as wave:
                flood = [wave.enter_context(server.connect()) for _ in range(99)]
                assert server.ask(HELLO, ELSEWHERE) == URYYB
                for client in flood:
                    words = remains(client)
                    assert words in (SOURCE_FULL, b"")  # so many at once are not all told
                    told += words == SOURCE_FULL
        assert told >= 64
        server.ask_until(HELLO, SOURCE_FULL)
        for client in held:
            client.sendall(HELLO)
            assert receive_lines(client, 2) == URYYB
        held[0].close()
        server.ask_until(HELLO, URYYB)
    assert server.counters.refused[Refused.SOURCE_FULL] >= 990
    assert server.counters.refused[Refused.FULL] == 0


def test_a_source_that_begins_connections_too_fast_is_told_so() -> None:
    limits = Limits(accept_rate=ALMOST_NEVER, accept_burst=5)
    with serving(limits=limits) as server:
        assert [server.ask(HELLO) for _ in range(5)] == [URYYB] * 5
        assert [server.ask(HELLO) for _ in range(20)] == [SOURCE_RATE] * 20
        assert [server.ask(HELLO, ELSEWHERE) for _ in range(5)] == [URYYB] * 5
    assert server.counters.refused[Refused.SOURCE_RATE] == 20


def test_a_source_that_keeps_trying_still_gets_what_its_rate_gives_it() -> None:
    with serving(limits=Limits(accept_rate=20, accept_burst=1)) as server:
        for _ in range(3):
            server.ask_until(HELLO, URYYB)
    assert server.counters.refused[Refused.SOURCE_RATE] > 0


def test_a_refused_client_hears_of_it_over_tls_too(
    tls: TlsSettings, trusting: ssl.SSLContext
) -> None:
    limits = Limits(accept_rate=ALMOST_NEVER, accept_burst=1)
    with serving(tls, limits) as server:
        for expected in (URYYB, SOURCE_RATE, SOURCE_RATE):
            with server.secure(trusting) as client:
                client.sendall(HELLO)
                end_by_tcp(client)
                assert receive_all(client) == expected
        with server.secure(trusting, ELSEWHERE) as client:
            client.sendall(HELLO)
            assert receive_lines(client, 2) == URYYB


def test_sources_are_those_that_proxies_speak_for() -> None:
    with serving(limits=Limits(max_connections_per_source=10), proxies=PROXIES) as server:
        with ExitStack() as stack:
            for number in range(10):
                client = stack.enter_context(server.connect())
                client.sendall(tcp4("192.0.2.1", 1000 + number) + HELLO)
                assert receive_lines(client, 2) == URYYB
            assert server.ask(tcp4("192.0.2.1") + HELLO) == SOURCE_FULL
            assert server.ask(tcp4("192.0.2.2") + HELLO) == URYYB
            # A network of 64 bits is one source.
            for number in range(10):
                client = stack.enter_context(server.connect())
                client.sendall(tcp6(f"2001:db8::{number}") + HELLO)
                assert receive_lines(client, 2) == URYYB
            assert server.ask(tcp6("2001:db8::ffff:1") + HELLO) == SOURCE_FULL
            assert server.ask(tcp6("2001:db8:0:1::1") + HELLO) == URYYB
        server.ask_until(tcp4("192.0.2.1") + HELLO, URYYB)


def test_silent_handshakes_have_half_of_the_places_and_make_room(
    tls: TlsSettings, trusting: ssl.SSLContext, log: pytest.LogCaptureFixture
) -> None:
    with serving(tls, Limits(max_connections=10)) as server, ExitStack() as stack:
        silent = [stack.enter_context(server.connect(ELSEWHERE)) for _ in range(20)]
        others = [stack.enter_context(server.secure(trusting)) for _ in range(5)]
        for client in others:
            client.sendall(HELLO)
            assert receive_lines(client, 2) == URYYB
        # The longest waiting went, in silence, each for another that came.
        assert [remains(client) for client in silent[:16]] == [b""] * 16
        # One more for each that came before the server knew the one before it to be through.
        assert 16 <= server.counters.refused[Refused.CROWDED_OUT] <= 20
    assert "'crowded out' detail='TLS handshake'" in log.text


def test_the_source_with_the_most_silent_handshakes_makes_room(
    tls: TlsSettings, trusting: ssl.SSLContext
) -> None:
    with serving(tls, Limits(max_connections=10)) as server, ExitStack() as stack:
        patient = stack.enter_context(server.connect())
        silent = [stack.enter_context(server.connect(ELSEWHERE)) for _ in range(10)]
        assert [remains(client) for client in silent[:6]] == [b""] * 6
        with secured(patient, trusting) as client:  # though it is the longest waiting of all
            client.sendall(HELLO)
            assert receive_lines(client, 2) == URYYB


def test_a_proxied_client_is_its_own_source_in_the_handshake(
    tls: TlsSettings, trusting: ssl.SSLContext
) -> None:
    with serving(tls, Limits(max_connections=6), ["127.0.0.1"]) as server, ExitStack() as stack:

        def begin(source: str, hello: bytes) -> tuple[socket.socket, bytes]:
            client = stack.enter_context(server.connect())
            client.sendall(tcp4(source) + hello)
            return client, client.recv(65_536)  # so the header has been read

        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        patient = trusting.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            patient.do_handshake()
        client, hello = begin("192.0.2.1", outgoing.read())
        flood = [begin("192.0.2.2", CLIENT_HELLO)[0] for _ in range(4)]
        assert [remains(one) for one in flood[:2]] == [b""] * 2
        incoming.write(hello)
        patient.do_handshake()
        patient.write(HELLO)
        client.sendall(outgoing.read())
        incoming.write(client.recv(65_536))
        assert patient.read(99) == URYYB


def test_silent_handshakes_of_one_source_leave_the_others_served(
    tls: TlsSettings, trusting: ssl.SSLContext
) -> None:
    limits = Limits(max_connections_per_source=10)
    with serving(tls, limits) as server, ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(server.connect()).sendall(CLIENT_HELLO[:1])
        with server.secure(trusting) as refused:
            assert receive_all(refused) == SOURCE_FULL
        with server.secure(trusting, ELSEWHERE) as client:
            client.sendall(HELLO)
            assert receive_lines(client, 2) == URYYB
        stack.pop_all().close()  # and the places of their source are free
        for _ in range(10_000):
            with server.secure(trusting) as client:
                client.sendall(HELLO)
                end_by_tcp(client)
                if receive_all(client) == URYYB:
                    return
        pytest.fail("the places were never given back")
