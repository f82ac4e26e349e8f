"""The server, on real sockets: many connections, limits, faults and shutdown.

Waits here are for something to happen, and bounded; what has to happen by the clock is
tested with a clock of our own in test_connection.py.
"""

from __future__ import annotations

import logging
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from cipherecho.cipher import Cipher, InputError
from cipherecho.ciphers.shapes import NotACipherError
from cipherecho.connections.buffers import Buffers
from cipherecho.connections.counters import Counters
from cipherecho.network.listeners import ListeningSocket, open_listeners
from cipherecho.rot13 import Rot13
from cipherecho.server import serve
from cipherecho.session import ReplyMode
from cipherecho.settings.endpoint import TcpEndpoint
from cipherecho.settings.limits import Limits
from tests.helpers.ciphers import FAULTY, Faulty, Numbered
from tests.helpers.settled import check_settled

LOOPBACK = TcpEndpoint("127.0.0.1", 0)

# Far more than anything here takes; a hang ends as a failure.
PATIENCE = 20


@pytest.fixture(autouse=True)
def _driven(express: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every test here run with both drivers."""
    monkeypatch.setattr(Served, "express", express)


class Served:
    """A running server, and ways to talk to it."""

    express = True

    def __init__(self, endpoint: TcpEndpoint) -> None:
        self.endpoint = endpoint
        self.counters = Counters()
        self.buffers = Buffers()
        self.shutdown = trio.Event()
        self.ended = trio.Event()

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream(self.endpoint.host, self.endpoint.port)

    def connect_now(self) -> socket.socket:
        """Connect without giving the server a turn, so that the connection waits."""
        return socket.create_connection((self.endpoint.host, self.endpoint.port))

    async def ask(self, line: bytes) -> bytes:
        """Return the answer to `line` on a connection of its own."""
        async with await self.connect() as client:
            await client.send_all(line)
            await client.send_eof()
            return await read_to_end(client)


@asynccontextmanager
async def serving(
    cipher: Cipher | None = None,
    limits: Limits | None = None,
    reply: ReplyMode = ReplyMode.BOTH,
    *,
    log_empty: bool = False,
) -> AsyncIterator[Served]:
    """Run a server; at the end it is shut down, and has to return by itself."""
    with trio.fail_after(PATIENCE):
        async with open_listeners([LOOPBACK]) as listeners, trio.open_nursery() as nursery:
            server = Served(LOOPBACK)

            async def run(task_status: trio.TaskStatus[list[TcpEndpoint]]) -> None:
                await serve(
                    listeners,
                    cipher or Rot13(),
                    limits,
                    reply=reply,
                    express=Served.express,
                    log_empty=log_empty,
                    counters=server.counters,
                    buffers=server.buffers,
                    shutdown=server.shutdown,
                    task_status=task_status,  # type: ignore[arg-type]
                )
                server.ended.set()

            [server.endpoint] = await nursery.start(run)
            yield server
            server.shutdown.set()
            await server.ended.wait()
    check_settled(server.counters, server.buffers)


async def read_to_end(client: trio.SocketStream) -> bytes:
    return b"".join([bytes(part) async for part in client])


async def read_exactly(client: trio.SocketStream, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = await client.receive_some(size - len(received))
        assert part, f"the connection ended after {received!r}"
        received += part
    return received


def reset(client: socket.socket) -> None:
    """Close with a reset instead of a farewell."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


async def until(condition: object, records: list[logging.LogRecord], count: int) -> None:
    """Wait until `count` records say `condition`."""
    with trio.fail_after(PATIENCE):
        while sum(str(condition) in record.getMessage() for record in records) < count:
            await trio.sleep(0.001)


# Serving


async def test_start_gives_the_bound_address() -> None:
    async with serving() as server:
        assert server.endpoint.host == "127.0.0.1"
        assert server.endpoint.port > 0
        assert await server.ask(b"Hello\n") == b"Hello\nUryyb\n"


async def test_limits_and_reply_are_those_given() -> None:
    async with serving(limits=Limits(max_line=5), reply=ReplyMode.CIPHER) as server:
        assert await server.ask(b"Hello\n") == b"Uryyb\n"
        assert (await server.ask(b"Hello!\n")).startswith(b"!error: got a line of more than 5")


async def test_two_connections_never_share_a_cipher_state() -> None:
    async with serving(Numbered(), reply=ReplyMode.CIPHER) as server:
        one, two = await server.connect(), await server.connect()
        async with one, two:
            for number in (b"1", b"2", b"3"):
                for client in (one, two):
                    await client.send_all(b"x\n")
                    assert await read_exactly(client, 4) == number + b" x\n"


async def test_what_is_no_cipher_is_refused_and_the_listeners_closed() -> None:
    async with open_listeners([LOOPBACK]) as listeners:
        with pytest.raises(NotACipherError):
            await serve(listeners, object())  # type: ignore[arg-type]
        assert listeners[0].socket.fileno() == -1


async def test_cancelling_closes_every_connection_and_listener() -> None:
    async with open_listeners([LOOPBACK]) as listeners, trio.open_nursery() as nursery:
        serving = partial(serve, express=Served.express)
        [endpoint] = await nursery.start(serving, listeners, Rot13())
        client = await trio.open_tcp_stream(endpoint.host, endpoint.port)
        await client.send_all(b"a\n")
        assert await read_exactly(client, 4) == b"a\nn\n"
        nursery.cancel_scope.cancel()
    assert listeners[0].socket.fileno() == -1
    with trio.fail_after(PATIENCE):
        assert await client.receive_some() == b""
    await client.aclose()


# TRAPS: one client's reset ends a Trio server


async def test_a_reset_at_any_moment_ends_that_connection_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "cipherecho")
    async with serving(log_empty=True) as server:
        in_backlog = server.connect_now()
        reset(in_backlog)
        sent = [b"", b"mid-line", b"a line\n", b"many lines\n" * 5000]
        for data in sent:
            in_backlog = server.connect_now()
            in_backlog.sendall(data)
            reset(in_backlog)
        for data in sent:
            client = server.connect_now()
            client.sendall(data)
            async with await server.connect() as other:  # the server has its turns
                await other.send_all(b"a\n")
                await read_exactly(other, 4)
            reset(client)
        assert await server.ask(b"Hello\n") == b"Hello\nUryyb\n"
        total = 1 + len(sent) + len(sent) * 2 + 1
        await until("closed: ", caplog.records, total)
    closed = [record for record in caplog.records if "closed: " in record.message]
    assert len(closed) == total
    assert all(record.exc_info is None for record in caplog.records)


async def test_a_reset_in_the_middle_of_a_reply_ends_that_connection_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "cipherecho")
    async with serving() as server:
        client = await server.connect()
        with trio.move_on_after(0.2):  # until the server can't send, and reads no more
            while True:
                await client.send_all(b"a line\n" * 9000)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await client.aclose()
        await until("reset by the client", caplog.records, 1)
        assert await server.ask(b"Hello\n") == b"Hello\nUryyb\n"
    assert all(record.exc_info is None for record in caplog.records)


async def test_who_connects_and_says_nothing_is_counted_and_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "cipherecho")
    async with serving() as server:
        server.connect_now().close()
        reset(server.connect_now())
        idle = server.connect_now()  # until the server shuts down
        assert await server.ask(b"") == b""
        assert await server.ask(b"Hello\n") == b"Hello\nUryyb\n"
    idle.close()
    assert (sum(server.counters.closed.values()), server.counters.empty) == (5, 4)
    assert caplog.text.count("closed: ") == caplog.text.count("lines=1") == 1


# TRAPS: line buffers without bound; closing with unread input loses the last reply


async def test_an_endless_line_is_refused_and_its_client_always_hears_of_it() -> None:
    async with serving() as server:
        for _ in range(50):
            async with await server.connect() as client:
                answer = b""

                async def send_on(client: trio.SocketStream = client) -> None:
                    for _ in range(40):
                        await client.send_all(b"x" * 10_000)
                    await client.send_eof()

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send_on)
                    answer = await read_to_end(client)
                assert answer == (
                    b"!error: got a line of more than 65536 bytes, expected at most that; "
                    b"closing the connection\n"
                )


# TRAPS: replies pile up for a client that does not read


async def test_a_client_that_does_not_read_is_not_read_from_and_harms_nobody() -> None:
    async with serving(limits=Limits(grace=0.1)) as server:
        async with await server.connect() as greedy:
            lines = b"a line\n" * 9000
            # Socket buffers on both sides hold some megabytes; a server that read on would take
            # all of this.
            for _ in range(1000):
                with trio.move_on_after(0.3) as scope:
                    await greedy.send_all(lines)
                if scope.cancelled_caught:
                    break
            assert scope.cancelled_caught
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for _ in range(100):
                assert await server.ask(b"Hello\n") == b"Hello\nUryyb\n"
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 1024  # KiB
            await trio.aclose_forcefully(greedy)


# WIRE: the server is full


async def test_a_full_server_tells_whoever_connects_and_serves_on() -> None:
    async with serving(limits=Limits(max_connections=2)) as server:
        async with await server.connect() as one, await server.connect() as two:
            for client in (one, two):
                await client.send_all(b"a\n")
                assert await read_exactly(client, 4) == b"a\nn\n"
            assert await server.ask(b"") == (
                b"!error: the server is full, serving 2; closing, try again later\n"
            )
            await one.send_all(b"b\n")
            assert await read_exactly(one, 4) == b"b\no\n"


async def test_listeners_where_nobody_connects_take_no_places() -> None:
    async with trio.open_nursery() as nursery, open_listeners([LOOPBACK] * 100) as listeners:
        serving = partial(serve, express=Served.express)
        endpoints = await nursery.start(serving, listeners, Rot13(), Limits(max_connections=1))
        for endpoint in endpoints:
            with trio.fail_after(PATIENCE):
                async with await trio.open_tcp_stream(endpoint.host, endpoint.port) as client:
                    await client.send_all(b"a\n")
                    first = await client.receive_some()
                    assert first == b"a\nn\n" or first.startswith(b"!error: the server is full")
        nursery.cancel_scope.cancel()


async def test_a_flood_of_connections_to_a_full_server_is_told_once_a_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "cipherecho")
    async with serving(limits=Limits(max_connections=1)) as server:
        async with await server.connect() as one:
            await one.send_all(b"a\n")
            await read_exactly(one, 4)
            begin = time.monotonic()
            for _ in range(100):
                assert (await server.ask(b"")).startswith(b"!error: the server is full")
            elapsed = time.monotonic() - begin
    assert 1 <= len(caplog.records) <= 1 + elapsed


# TRAPS: connection counters that leak on one exit path


async def _admitted(server: Served) -> trio.SocketStream:
    """Return a client that has the only place, once the one before has given it back."""
    while True:
        client = await server.connect()
        await client.send_all(b"a\n")
        if await client.receive_some(2) == b"a\n":
            return client
        await client.aclose()


@pytest.mark.parametrize("path", ["end", "reset", "overlong", "fault", "idle", "write", "line"])
async def test_every_way_to_end_gives_the_place_back(path: str) -> None:
    limits = Limits(
        max_connections=1,
        max_line=1000,
        idle_timeout=0.01 if path == "idle" else 60,
        line_timeout=0.01 if path == "line" else 60,
        write_timeout=0.01 if path == "write" else 60,
    )
    async with serving(Faulty(lambda body: 1 / 0), limits) as server:
        for _ in range(3):
            async with await _admitted(server) as client:
                if path == "end":
                    await client.send_eof()
                elif path == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    continue
                elif path == "overlong":
                    await client.send_all(b"x" * 1001)
                elif path == "fault":
                    await client.send_all(b"!\n")
                elif path == "line":
                    await client.send_all(b"begun")
                elif path == "write":
                    with suppress(trio.BrokenResourceError):
                        while True:
                            await client.send_all(b"a line\n" * 9000)
                    continue
                await read_to_end(client)


# TRAPS: out of descriptors


def descriptors_open() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = descriptors_open()
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
    try:
        with ExitStack() as stack:
            try:
                while True:
                    stack.enter_context(Path(os.devnull).open("rb"))
            except OSError:
                yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_without_descriptors_it_waits_quietly_and_comes_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "cipherecho")
    async with serving() as server:
        client = trio.socket.socket()
        with no_descriptors_left():
            await client.connect((server.endpoint.host, server.endpoint.port))
            stream = trio.SocketStream(client)
            await stream.send_all(b"Hello\n")
            cpu = time.process_time()
            with trio.move_on_after(1.2) as scope:
                await stream.receive_some()
            assert scope.cancelled_caught
            assert time.process_time() - cpu < 0.05 * 1.2
        with trio.fail_after(PATIENCE):
            assert await read_exactly(stream, 12) == b"Hello\nUryyb\n"
        await stream.aclose()
    messages = [record.message for record in caplog.records]
    assert 1 <= len(messages) <= 2
    assert messages[0] == "can't accept connections for now: Too many open files"
    assert all(record.exc_info is None for record in caplog.records)


async def test_the_connection_cap_is_kept_below_the_descriptor_limit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors_open() + 60, hard))
    try:
        async with serving(limits=Limits(max_connections=5000)) as server:
            assert await server.ask(b"Hello\n") == b"Hello\nUryyb\n"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "connections at once, not 5000" in caplog.text


# Plugins that fail


@pytest.mark.parametrize("fault", FAULTY)
async def test_a_faulty_cipher_ends_its_connection_and_no_other(fault: str) -> None:
    async with serving(FAULTY[fault]) as server, await server.connect() as bystander:
        await bystander.send_all(b"before\n")
        await read_exactly(bystander, 14)
        answer = await server.ask(b"fail!\nnever answered\n")
        echo, error, rest = answer.split(b"\n")
        assert echo == b"fail!"
        assert error.startswith(b"!error: the cipher failed on this line")
        assert rest == b""
        await bystander.send_all(b"after\n")
        assert await read_exactly(bystander, 12) == b"after\nafter\n"


async def test_the_traceback_of_a_fault_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "cipherecho")
    async with serving(Faulty(lambda body: 1 / 0)) as server:
        for _ in range(5):
            await server.ask(b"!\n")
    assert [record.exc_info is not None for record in caplog.records] == [True, False]
    assert "bug of its plugin" in caplog.records[0].message
    assert "ZeroDivisionError" in caplog.records[1].message


class FailsWhenItIsAsked:
    """Its method is a property, which fails from the second time on."""

    def __init__(self) -> None:
        self.asked = 0

    @property
    def encrypt(self) -> object:
        self.asked += 1
        if self.asked > 3:
            raise RuntimeError("asked too often")
        return bytes.upper


class UnspeakableError(Exception):
    """Fails once more when it is asked what it has to say."""

    def __str__(self) -> str:
        raise SystemExit("unspeakable")

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise SystemExit("unspeakable")


class UnspeakableInputError(InputError):
    def __str__(self) -> str:
        raise ZeroDivisionError


def _raise(error: BaseException) -> bytes:
    raise error


@pytest.mark.parametrize(
    "make",
    [
        FailsWhenItIsAsked,
        lambda: Faulty(lambda body: _raise(KeyboardInterrupt())),
        lambda: Faulty(lambda body: _raise(UnspeakableError())),
        lambda: Faulty(lambda body: _raise(UnspeakableInputError())),
    ],
    ids=["fails when it is asked", "an interrupt", "no message", "no reason"],
)
async def test_no_cipher_ends_the_server_however_it_fails(make: Callable[[], Cipher]) -> None:
    async with serving(make(), Limits(max_connections=2)) as server:
        for _ in range(5):
            async with await server.connect() as client:
                with suppress(trio.BrokenResourceError):
                    await client.send_all(b"!\n")
                    await client.send_eof()
                    assert b"the server is full" not in await read_to_end(client)


# Ciphers that are slow


class Waiting:
    """A slow cipher: a line `wait` waits for a line `go`, on whatever connection."""

    slow = True

    def __init__(self) -> None:
        self.go = threading.Event()
        self.most_at_once = 0
        self._at_once = 0
        self._counting = threading.Lock()

    def encrypt(self, body: bytes) -> bytes:
        with self._counting:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        if body == b"go":
            self.go.set()
        elif body == b"wait":
            assert self.go.wait(PATIENCE)
        with self._counting:
            self._at_once -= 1
        return body.upper()


async def test_nobody_waits_for_a_slow_cipher_but_its_own_client() -> None:
    async with serving(Waiting()) as server:
        async with await server.connect() as one, await server.connect() as two:
            await one.send_all(b"wait\nafter\n")
            await two.send_all(b"go\n")
            assert await read_exactly(two, 6) == b"go\nGO\n"
            # In order, though the second line is quick.
            assert await read_exactly(one, 22) == b"wait\nWAIT\nafter\nAFTER\n"


async def test_the_worker_threads_are_as_many_as_they_may_be() -> None:
    cipher = Waiting()
    async with serving(cipher, Limits(max_workers=3)) as server:
        clients = [await server.connect() for _ in range(10)]
        for client in clients:
            await client.send_all(b"wait\n")
        while cipher.most_at_once < 3:
            await trio.sleep(0.001)
        cipher.go.set()
        for client in clients:
            assert await read_exactly(client, 10) == b"wait\nWAIT\n"
            await client.aclose()
    assert cipher.most_at_once == 3


async def test_a_cipher_that_never_ends_does_not_keep_the_server_from_ending(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cipher = Waiting()
    async with serving(cipher, Limits(grace=0.1)) as server:
        async with await server.connect() as client:
            await client.send_all(b"wait\n")
            while not cipher.most_at_once:
                await trio.sleep(0.001)
            server.shutdown.set()
            await server.ended.wait()
    cipher.go.set()
    assert "shutdown took longer than 0.1 s" in caplog.text


async def test_a_slow_cipher_that_fails_ends_its_connection_and_no_other() -> None:
    class Slow(Faulty):
        slow = True

    async with serving(Slow(lambda body: 1 / 0)) as server, await server.connect() as bystander:
        assert (await server.ask(b"!\n")).startswith(b"!\n!error: the cipher failed")
        await bystander.send_all(b"after\n")
        assert await read_exactly(bystander, 12) == b"after\nafter\n"


async def test_a_cipher_that_is_seen_to_be_slow_goes_to_worker_threads() -> None:
    class Dawdling:
        """Slow in the event loop, where it should not be."""

        def __init__(self) -> None:
            self.threads: list[bool] = []

        def encrypt(self, body: bytes) -> bytes:
            in_loop = threading.current_thread() is threading.main_thread()
            self.threads.append(not in_loop)
            if in_loop:
                threading.Event().wait(0.03)
            return body

    cipher = Dawdling()
    async with serving(cipher) as server, await server.connect() as client:
        for _ in range(50):
            await client.send_all(b"a\n")
            assert await read_exactly(client, 4) == b"a\na\n"
    # The loop itself may have waited a moment before the first time, so once may not be enough.
    assert cipher.threads.count(False) <= 2
    assert cipher.threads[2:] == [True] * 48


async def test_lines_of_a_slow_cipher_are_answered_as_they_are_coded() -> None:
    """WIRE, lines 7."""
    cipher = Waiting()
    async with serving(cipher) as server, await server.connect() as client:
        with trio.fail_after(PATIENCE):
            await client.send_all(b"a\n" * 100 + b"wait\nb\n")
            assert await read_exactly(client, 400) == b"a\nA\n" * 100
            cipher.go.set()
            assert await read_exactly(client, 14) == b"wait\nWAIT\nb\nB\n"
            await client.send_all(b"c\n")  # and it goes on as before
            assert await read_exactly(client, 4) == b"c\nC\n"


async def test_a_line_that_takes_longer_than_the_coding_time_ends_its_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """WIRE, wrong: the echo, then an error line; close."""
    caplog.set_level(logging.INFO, "cipherecho")
    cipher = Waiting()
    limits = Limits(max_workers=4, coding_timeout=0.2, grace=5)
    error = (
        b"!error: this line took longer than 0.2 s to code, expected less; closing the connection"
    )
    async with serving(cipher, limits) as server:
        with trio.fail_after(PATIENCE):
            assert await server.ask(b"a\nwait\r\nnever\n") == (b"a\nA\nwait\r\n" + error + b"\r\n")
            assert server.counters.workers_written_off == 1
            # Others are served; but this source, the only one here, may have lost one of four.
            assert (await server.ask(b"a\n")).startswith(
                b"!error: got a line while 1 from your address still take more than 0.2 s"
            )
            cipher.go.set()
            while server.counters.workers_written_off:
                await trio.sleep(0.001)
            assert await server.ask(b"a\n") == b"a\nA\n"
    assert "reason='coding timeout' lines=2" in caplog.text


async def test_neither_shutdown_nor_end_waits_for_a_thread_that_is_written_off() -> None:
    cipher = Waiting()
    async with serving(cipher, Limits(coding_timeout=0.05, grace=60)) as server:
        with trio.fail_after(PATIENCE):
            await server.ask(b"wait\n")
            server.shutdown.set()
            await server.ended.wait()
            assert server.counters.workers_written_off == 1
    cipher.go.set()


async def test_what_a_slow_cipher_remembers_stays_in_order() -> None:
    class Slow(Numbered):
        slow = True

    async with serving(Slow(), reply=ReplyMode.CIPHER) as server:
        clients = [await server.connect() for _ in range(5)]
        for _ in range(20):
            for client in clients:
                await client.send_all(b"x\n" * 50)
        for client in clients:
            async with client:
                await client.send_eof()
                expected = b"".join(b"%d x\n" % number for number in range(1, 1001))
                assert await read_to_end(client) == expected


# WIRE: shutdown


async def test_connections_in_the_backlog_are_served_before_the_listener_closes() -> None:
    async with serving() as server:
        # None of this gives the server a turn.
        clients = [server.connect_now() for _ in range(100)]
        for client in clients:
            client.sendall(b"Hello\n")
        server.shutdown.set()
        await server.ended.wait()
        for client in clients:
            with client:
                assert client.recv(100) == b"Hello\nUryyb\n"
                assert client.recv(100) == b""


async def test_shutdown_answers_what_was_received_and_closes_idle_connections() -> None:
    async with serving() as server, await server.connect() as idle, await server.connect() as busy:
        await busy.send_all(b"one\ntwo\nthr")
        server.shutdown.set()
        assert await read_to_end(busy) == b"one\nbar\ntwo\ngjb\n"
        assert await read_to_end(idle) == b""
        await idle.send_eof()
        await busy.send_eof()
        await server.ended.wait()
        with pytest.raises(OSError, match="all attempts to connect"):
            await server.connect()


async def test_a_client_that_does_not_read_cannot_extend_the_grace_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(limits=Limits(grace=0.2, write_timeout=60)) as server:
        greedy = await server.connect()
        with trio.move_on_after(0.2):
            while True:
                await greedy.send_all(b"a line\n" * 9000)
        server.shutdown.set()
        begin = trio.current_time()
        await server.ended.wait()
        assert 0.2 <= trio.current_time() - begin < PATIENCE  # it would be a minute
        await greedy.aclose()
    assert "shutdown took longer than 0.2 s" in caplog.text


async def test_whoever_comes_while_the_last_are_served_is_refused_at_once() -> None:
    async with serving(limits=Limits(grace=PATIENCE, write_timeout=60)) as server:
        greedy = await server.connect()
        with trio.move_on_after(0.2):
            while True:
                await greedy.send_all(b"a line\n" * 9000)
        server.shutdown.set()
        with trio.fail_after(PATIENCE / 2), suppress(ConnectionRefusedError):
            while True:
                server.connect_now().close()
                await trio.sleep(0.01)
        assert not server.ended.is_set()
        await greedy.aclose()


async def test_a_flood_of_new_connections_cannot_extend_a_shutdown() -> None:
    async with serving(limits=Limits(grace=15)) as server:
        begin = trio.current_time()

        async def come_again() -> None:
            with suppress(OSError, trio.BrokenResourceError):  # when nobody listens any more
                while True:
                    await server.ask(b"Hello\n")

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(come_again)
            await server.ask(b"Hello\n")
            server.shutdown.set()
        assert trio.current_time() - begin < 5


async def test_a_backlog_behind_a_full_server_is_told_so_at_shutdown() -> None:
    async with serving(limits=Limits(max_connections=5)) as server:
        clients = [server.connect_now() for _ in range(300)]
        server.shutdown.set()
        await server.ended.wait()
        words = []
        for client in clients:
            with client:
                words.append(client.recv(100))  # nobody is reset
    # Those who were served had nothing to be told, and their places can be had again.
    assert words[:5] == [b""] * 5
    refused = [one for one in words if one.startswith(b"!error: the server is full")]
    assert len(refused) >= 200
    assert all(one in (b"", refused[0]) for one in words)


async def test_shutdown_with_nobody_connected_is_immediate() -> None:
    async with serving(limits=Limits(grace=60)) as server:
        server.shutdown.set()
        with trio.fail_after(PATIENCE):  # before the grace is over
            await server.ended.wait()


async def test_a_socket_of_the_callers_own_is_served_and_may_be_blocking() -> None:
    mine = socket.create_server(("127.0.0.1", 0))
    where = TcpEndpoint(*mine.getsockname())
    async with trio.open_nursery() as nursery:
        start = partial(serve, express=Served.express)
        assert await nursery.start(start, [ListeningSocket(mine, where)], Rot13()) == [where]
        async with await trio.open_tcp_stream(where.host, where.port) as client:
            await client.send_all(b"Hello\n")
            assert await read_exactly(client, 12) == b"Hello\nUryyb\n"
        nursery.cancel_scope.cancel()
    assert mine.fileno() == -1


async def test_serve_can_be_started_with_keywords_of_its_own() -> None:
    async with open_listeners([LOOPBACK]) as listeners, trio.open_nursery() as nursery:
        start = partial(serve, reply=ReplyMode.CIPHER, express=Served.express)
        [endpoint] = await nursery.start(start, listeners, Rot13(), Limits(max_line=10))
        async with await trio.open_tcp_stream(endpoint.host, endpoint.port) as client:
            await client.send_all(b"Hello\n")
            assert await read_exactly(client, 6) == b"Uryyb\n"
        nursery.cancel_scope.cancel()
