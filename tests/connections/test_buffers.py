"""What all connections together may hold: how it is added up, and who has to go beyond the bound.

The server has a thread of its own, two listeners with a bound in common, and clients from two
addresses, some of which go too far.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from functools import partial
from threading import Event
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from cipherecho.cipher import Cipher
from cipherecho.connections.buffers import Buffers, least_buffered
from cipherecho.connections.counters import Counters, Ended
from cipherecho.network.certificates import Certificates
from cipherecho.network.listeners import open_listeners
from cipherecho.rot13 import Rot13
from cipherecho.server import serve
from cipherecho.settings.endpoint import TcpEndpoint
from cipherecho.settings.limits import Limits
from cipherecho.settings.tls import TlsSettings
from tests.helpers.certificates import Authority
from tests.helpers.ciphers import Held
from tests.helpers.running import PATIENCE, both, receive_all, receive_lines
from tests.helpers.settled import check_settled

# Adding up


class Holding:
    """A connection, as far as it is counted."""

    counted = 0
    dismissed = False

    def __init__(self, source: str = "") -> None:
        self.source = source

    def dismiss(self) -> None:
        assert self.counted == 0  # what it held is not to be counted any more
        self.dismissed = True


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 300)), max_size=60),
    st.integers(100, 1000),
)
def test_the_sum_is_that_of_what_connections_hold_and_keeps_the_bound(
    steps: list[tuple[int, int]], most: int
) -> None:
    buffers = Buffers(most)
    connections = [Holding(f"source {number % 3}") for number in range(10)]
    held = [0] * 10
    for number, size in steps:
        if connections[number].dismissed:
            continue
        buffers.count(connections[number], size)
        held[number] = size
        buffers.relieve()
        held = [0 if one.dismissed else size for one, size in zip(connections, held, strict=True)]
        assert [one.counted for one in connections] == held
        assert buffers.bytes == sum(held) <= most
    for one in connections:
        buffers.count(one, 0)
    assert buffers.bytes == 0


def test_of_the_source_that_holds_most_the_largest_has_to_go() -> None:
    buffers = Buffers(1000)
    alone = Holding("alone")
    many = [Holding("many") for _ in range(10)]
    buffers.count(alone, 400)
    for number, one in enumerate(many):
        buffers.count(one, 50 + number)
    assert buffers.bytes == 945
    buffers.count(many[0], 200)
    buffers.relieve()
    assert [one.dismissed for one in many] == [True] + 9 * [False]
    assert not alone.dismissed


def test_what_was_found_once_takes_no_longer_among_ten_thousand() -> None:
    buffers = Buffers(10_000 * 6000)
    for number in range(10_000):
        buffers.count(Holding(f"source {number % 1000}"), 6000)
    begin = time.process_time()
    for number in range(2000):
        buffers.count(Holding(f"source {number % 1000}"), 6000)
        buffers.relieve()
    # Some 20 us each; a look at all of them would take as many ms.
    assert time.process_time() - begin < 1


def test_a_bound_in_which_a_line_has_no_room_is_refused() -> None:
    async def start() -> None:
        async with open_listeners([TcpEndpoint("127.0.0.1", 0)]) as listeners:
            buffers = Buffers(least_buffered(1000) - 1)
            await serve(listeners, Rot13(), Limits(max_line=1000), buffers=buffers)

    with pytest.raises(ValueError, match="got a bound of 3999 bytes, expected at least 4000"):
        trio.run(start)


# Serving

MAX_LINE = 16_384
MOST = 16 * MAX_LINE

# Those who go too far; the others come from 127.0.0.1.
ELSEWHERE = "127.0.0.2"

TOLD = (
    b"!error: all clients together hold more than 262144 bytes in unfinished lines and "
    b"unread replies, and you hold most; closing the connection\n"
)


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
    """Two servers with a bound in common, a plain one and one with TLS."""

    def __init__(self) -> None:
        self.buffers = Buffers(MOST)
        self.all_counters = [Counters(), Counters()]
        self.ports: list[int] = []
        self.stack = ExitStack()

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """Return a connection to the plain one; with small buffers, to fill them soon."""
        client = socket.socket()
        self.stack.enter_context(client)
        client.settimeout(PATIENCE)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.bind((source, 0))
        client.connect(("127.0.0.1", self.ports[0]))
        return client

    def secure(self, trusting: ssl.SSLContext, source: str = "127.0.0.1") -> ssl.SSLSocket:
        """Return a connection to the one with TLS, after its handshake."""
        client = socket.create_connection(("127.0.0.1", self.ports[1]), PATIENCE, (source, 0))
        return self.stack.enter_context(trusting.wrap_socket(client, server_hostname="localhost"))

    @property
    def dismissed(self) -> int:
        """How many were closed as all held too much."""
        return sum(counters.closed[Ended.BUFFERS_FULL] for counters in self.all_counters)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something has become so."""
        for _ in range(int(PATIENCE * 1000)):
            if condition():
                return
            time.sleep(0.001)
        pytest.fail(f"it never became so: {self.buffers.bytes} bytes, {self.dismissed} dismissed")

    def crowd(self, hold: Callable[[], socket.socket], times: int) -> list[socket.socket]:
        """Have clients hold as much as each other and more than fits; return those that remain.

        The others have been told why, and nothing else.
        """
        before = self.buffers.bytes
        clients = [hold()]
        self.wait_for(lambda: self.buffers.bytes > before)
        size = self.buffers.bytes - before
        clients += [hold() for _ in range(times - 1)]

        self.wait_for(
            lambda: len(readable(clients)) + round((self.buffers.bytes - before) / size) == times
        )
        assert self.buffers.bytes <= MOST
        assert 0 < len(readable(clients)) < times
        for client in readable(clients):
            assert receive_all(client) == TOLD
            client.close()
            clients.remove(client)
        self.wait_for(lambda: self.dismissed == times - len(clients))
        return clients


@contextmanager
def serving(
    tls: TlsSettings, *, express: bool, cipher: Cipher | None = None, **limits: Any
) -> Iterator[Served]:
    """Run both; at the end they are shut down, and nobody holds anything."""
    server = Served()
    started, stop = Event(), trio.Event()
    in_thread: list[Callable[[Callable[[], None]], None]] = []

    async def run() -> None:
        token = trio.lowlevel.current_trio_token()
        in_thread.append(partial(trio.from_thread.run_sync, trio_token=token))
        with trio.fail_after(3 * PATIENCE):
            async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
                for counters, certificates in zip(
                    server.all_counters, [None, Certificates(tls)], strict=True
                ):
                    endpoint = TcpEndpoint("127.0.0.1", 0, tls=certificates is not None)
                    listeners = await stack.enter_async_context(
                        open_listeners([endpoint], certificates)
                    )
                    one = partial(
                        serve,
                        listeners,
                        cipher or Rot13(),
                        Limits(max_line=MAX_LINE, grace=2, **limits),
                        express=express,
                        counters=counters,
                        buffers=server.buffers,
                        shutdown=stop,
                    )
                    [bound] = await nursery.start(one)
                    server.ports.append(bound.port)
                started.set()

    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(trio.run, run)
        running.add_done_callback(lambda _: started.set())
        assert started.wait(PATIENCE)
        try:
            with server.stack:
                yield server
        finally:
            with suppress(trio.RunFinishedError):  # its result says why
                in_thread[0](stop.set)
            running.result(PATIENCE)
    for counters in server.all_counters:
        check_settled(counters, server.buffers)


def test_who_does_not_end_lines_has_to_go_and_others_do_not_notice(
    tls: TlsSettings, *, express: bool
) -> None:
    with serving(tls, express=express) as server:
        innocent, slow = server.connect(), server.connect()
        innocent.sendall(b"Hel")
        slow.sendall(MAX_LINE * b"a")  # more than any of the others
        server.wait_for(lambda: server.buffers.bytes > MAX_LINE)

        def hold() -> socket.socket:
            client = server.connect(ELSEWHERE)
            client.sendall(9000 * b"a")
            return client

        one, *others = server.crowd(hold, 60)
        for other in others:
            other.close()
        server.wait_for(lambda: server.buffers.bytes < MOST / 2)
        one.sendall(b"\n")
        assert receive_lines(one, 2) == both(9000 * b"a" + b"\n")
        innocent.sendall(b"lo\n")
        assert receive_lines(innocent, 2) == both(b"Hello\n")
        slow.sendall(b"\n")
        assert receive_lines(slow, 2) == both(MAX_LINE * b"a" + b"\n")


@pytest.mark.parametrize("in_parts", [False, True])
def test_the_bound_is_for_all_listeners_and_what_tls_needs_is_in_it(
    tls: TlsSettings, trusting: ssl.SSLContext, *, express: bool, in_parts: bool
) -> None:
    with serving(tls, express=express) as server:
        innocent = server.connect()
        innocent.sendall(b"Hel")

        def hold() -> socket.socket:
            client = server.secure(trusting, ELSEWHERE)
            if in_parts:  # of a record that OpenSSL waits for
                socket.socket.sendall(client, b"\x17\x03\x03\x40\x00" + bytes(100))
            else:
                client.sendall(10_000 * b"a")
            return client

        server.crowd(hold, 16)
        # And a source that holds more, elsewhere, goes before those.
        others = [server.connect("127.0.0.3") for _ in range(30)]
        for one in others:
            one.sendall(10_000 * b"a")
        server.wait_for(lambda: server.all_counters[0].serving < 31 or bool(readable(others)))
        assert server.buffers.bytes <= MOST
        innocent.sendall(b"lo\n")
        assert receive_lines(innocent, 2) == both(b"Hello\n")


def test_who_does_not_take_replies_has_to_go_at_once(tls: TlsSettings, *, express: bool) -> None:
    with serving(tls, express=express, write_timeout=1000) as server:
        innocent = server.connect()
        for _ in range(30):
            client = server.connect(ELSEWHERE)
            client.setblocking(False)
            fill(client, server)
            assert server.buffers.bytes <= MOST
            if server.dismissed > 1:
                break
        else:
            pytest.fail(f"nobody had to go: {server.buffers.bytes} bytes")
        innocent.sendall(b"Hello\n")
        assert receive_lines(innocent, 2) == both(b"Hello\n")


def test_who_waits_for_a_worker_thread_has_to_go_without_it(
    tls: TlsSettings, *, express: bool
) -> None:
    held = Held()
    with serving(tls, express=express, cipher=held, max_workers=1) as server:
        innocent = server.connect()
        innocent.sendall(b"hold\n")
        assert held.begun.wait(PATIENCE)

        def hold() -> socket.socket:
            client = server.connect(ELSEWHERE)
            client.sendall(100 * (b"a" * 99 + b"\n"))
            return client

        server.crowd(hold, 40)
        held.go.set()
        assert receive_lines(innocent, 2) == b"hold\nHOLD\n"


def fill(client: socket.socket, server: Served) -> None:
    """Send lines and take no reply until the server waits for that, or has had enough."""
    lines = 160 * (b"a" * 99 + b"\n")
    before = server.dismissed
    silent_since = time.monotonic()
    while time.monotonic() < silent_since + 0.05 and server.dismissed == before:
        try:
            client.send(lines)
        except BlockingIOError:
            time.sleep(0.001)
        except OSError:
            return
        else:
            silent_since = time.monotonic()


def readable(clients: list[socket.socket]) -> list[socket.socket]:
    """Return those for whom something has come."""
    return select.select(clients, [], [], 0)[0]
