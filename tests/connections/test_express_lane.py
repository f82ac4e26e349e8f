"""The express lane: what it does in place, what it leaves to a task, and what that costs.

What clients see of it is tested in test_server.py and test_clients.py, where every test is
run with and without it.
"""

from __future__ import annotations

import itertools
import logging
import select
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from math import inf
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from cipherecho.cipher import Cipher
from cipherecho.connections import express_lane
from cipherecho.connections.client import Client
from cipherecho.connections.connection import SocketConnection, Terms
from cipherecho.connections.counters import Counters
from cipherecho.connections.express_lane import ExpressLane, has_express_lane
from cipherecho.connections.offload import slow_ciphers, workers
from cipherecho.connections.offload.slow_ciphers import SlowCipherDetector
from cipherecho.connections.offload.workers import Workers
from cipherecho.network.listeners import open_listeners
from cipherecho.network.sockets import is_readable
from cipherecho.rot13 import Rot13
from cipherecho.server import serve
from cipherecho.session import LINE_WEIGHT, Session
from cipherecho.settings.endpoint import TcpEndpoint
from cipherecho.settings.limits import Limits
from tests.helpers.ciphers import Held, Padded

pytestmark = pytest.mark.skipif(not has_express_lane(), reason="the express lane needs epoll")

PATIENCE = 20


@pytest.fixture(autouse=True)
def no_early_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have jobs under way not looked at, which on a busy machine might be at any moment."""
    monkeypatch.setattr(workers, "_SECONDS_BETWEEN_LOOKS", 5)


class Counted(socket.socket):
    """A socket that counts its calls."""

    receives = 0
    sends = 0

    def recv(self, *arguments: int) -> bytes:
        self.receives += 1
        return super().recv(*arguments)

    def send(self, *arguments: object) -> int:
        self.sends += 1
        return super().send(*arguments)  # type: ignore[arg-type]


class Lane:
    """An express lane with clients, and what became of their connections."""

    def __init__(self, cipher: Cipher, limits: Limits) -> None:
        self.left: list[SocketConnection] = []
        self.over: list[SocketConnection] = []
        self.lost: list[BaseException] = []
        self.failures: list[BaseException] = []
        self.detector = SlowCipherDetector(cipher)
        self.workers = Workers(limits, self.detector, Counters())
        self.terms = Terms(
            limits, self.detector, self.workers, self.failures.append, log_empty=True
        )
        self.lane = ExpressLane(self.terms, self.left.append, self._fail)
        self._session = Session(cipher, max_line=limits.max_line)
        self._sockets: list[socket.socket] = []

    def connect(self) -> tuple[socket.socket, SocketConnection, Counted]:
        """Return a new client, which never waits, and its connection in the lane."""
        client, theirs = socket.socketpair()
        server = Counted(fileno=theirs.detach())
        for one in (client, server):
            one.setblocking(False)
            self._sockets.append(one)
        known = Client(server, None, lambda client: self.over.append(connection))
        connection = SocketConnection(self._session.fresh(), self.terms, "peer", known)
        assert self.lane.enter(connection)
        return client, connection, server

    def _fail(self, connection: SocketConnection, fault: BaseException) -> None:
        self.lost.append(fault)
        connection.close()

    def close(self) -> None:
        self.workers.close()
        for one in self._sockets:
            one.close()


@asynccontextmanager
async def running(
    cipher: Cipher | None = None, limits: Limits | None = None
) -> AsyncIterator[Lane]:
    """Run a lane; at the end it is cancelled."""
    lane = Lane(cipher or Rot13(), limits or Limits())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.lane.run)
        await wait_all_tasks_blocked()
        yield lane
        nursery.cancel_scope.cancel()
    lane.close()


async def answer(client: socket.socket) -> bytes:
    """Return what the client has got when the lane has had its turns."""
    await turns()
    return client.recv(1 << 20)


async def turns() -> None:
    for _ in range(5):
        await trio.lowlevel.checkpoint()


# In place


async def test_what_one_receive_brings_is_answered_with_one_send() -> None:
    async with running() as lane:
        client, connection, server = lane.connect()
        for number in range(1, 11):
            client.send(b"Hello\n" * number)
            assert await answer(client) == b"Hello\nUryyb\n" * number
            assert (server.receives, server.sends) == (number, number)
        assert len(lane.lane) == 1
        assert (connection.received, connection.sent) == (55 * 6, 55 * 12)


async def test_a_line_that_comes_in_pieces_is_answered_in_the_lane() -> None:
    async with running() as lane:
        client, _, server = lane.connect()
        for byte in b"Hello":
            client.send(bytes([byte]))
            await turns()
        assert server.sends == 0
        client.send(b"\nWorld\nand")
        assert await answer(client) == b"Hello\nUryyb\nWorld\nJbeyq\n"
        assert lane.left == []


async def test_the_end_of_a_quiet_connection_needs_no_task(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "cipherecho")
    async with running() as lane:
        client, connection, _ = lane.connect()
        client.send(b"Hello\nrest")
        client.shutdown(socket.SHUT_WR)
        assert await answer(client) == b"Hello\nUryyb\nrest\nerfg\n"
        assert (lane.over, lane.left, len(lane.lane)) == ([connection], [], 0)
    [record] = caplog.records
    assert "reason='end of input' lines=2" in record.message


async def test_a_socket_that_has_nothing_after_all_stays() -> None:
    async with running() as lane:
        client, _, server = lane.connect()
        client.send(b"Hello\n")
        assert server.recv(100) == b"Hello\n"  # before the lane's turn
        await turns()
        client.send(b"World\n")
        assert await answer(client) == b"World\nJbeyq\n"


# Left to a task


async def test_what_a_client_does_not_take_is_left_with_the_rest_of_the_reply() -> None:
    async with running() as lane:
        client, connection, server = lane.connect()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least there is
        while not lane.left:
            client.send(b"a line\n" * 1000)
            await turns()
        assert (lane.left, len(lane.lane)) == ([connection], 0)
        taken = b""
        while len(taken) < connection.sent:
            taken += client.recv(1 << 20)
        assert taken + connection.reply == b"a line\nn yvar\n" * connection.session.lines


async def test_a_connection_is_left_that_has_more_than_one_turn_of_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slow_ciphers, "perf_counter", lambda: 0.0)
    async with running(Padded(0)) as lane:
        client, connection, _ = lane.connect()
        client.send(b"\n" * 5000)
        # Nothing is known of the cipher yet, so a turn has few lines.
        await until(lambda: is_readable(client))
        assert 0 < len(client.recv(99)) <= 2 * (1088 // LINE_WEIGHT)
        assert lane.left == [connection]
        assert connection.session.has_more


async def until(came: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not came():
            await trio.sleep(0.001)


async def test_a_slow_cipher_holds_up_its_own_connection_alone() -> None:
    cipher = Held()
    async with running(cipher) as lane:
        (one, held, server), (two, _, _) = lane.connect(), lane.connect()
        one.send(b"hold\n")
        await until(cipher.begun.is_set)
        one.send(b"after\n")
        two.send(b"Hello\n")
        await until(lambda: is_readable(two))
        assert two.recv(99) == b"Hello\nHELLO\n"
        assert server.receives == 1
        assert len(lane.lane) == 2
        assert held in lane.lane
        cipher.go.set()
        await until(lambda: held.sent == 2 * 11)
        assert one.recv(99) == b"hold\nHOLD\nafter\nAFTER\n"
        assert (lane.left, lane.over) == ([], [])


async def test_a_connection_for_which_there_is_no_thread_ends_and_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with running(Held()) as lane:
        (one, refused, _), (two, _, _) = lane.connect(), lane.connect()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            one.send(b"Hello\n")
            assert await answer(one) == (
                b"!error: the system has no thread for this line, expected one; "
                b"closing the connection\n"
            )
            assert lane.left == [refused]
        two.send(b"Hello\n")
        await until(lambda: is_readable(two))
        assert two.recv(99) == b"Hello\nHELLO\n"
    assert "can't start a worker thread: can't start new thread" in caplog.text
    assert lane.lost == []


async def test_what_a_slow_cipher_works_on_leaves_a_lane_that_is_cleared() -> None:
    cipher = Held()
    lane = Lane(cipher, Limits())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.lane.run)
        client, connection, _ = lane.connect()
        client.send(b"hold\n")
        await until(cipher.begun.is_set)
        lane.lane.drain()
    assert (lane.left, lane.over, len(lane.lane)) == ([connection], [], 0)
    assert connection.job is not None
    cipher.go.set()
    assert await connection.job.news() == b"hold\nHOLD\n"
    lane.close()


async def test_what_a_slow_cipher_works_on_is_over_when_the_lane_is_cancelled() -> None:
    cipher = Held()
    async with running(cipher) as lane:
        client, connection, _ = lane.connect()
        client.send(b"hold\n")
        await until(cipher.begun.is_set)
    assert lane.over == [connection]
    cipher.go.set()
    await trio.sleep(0.01)  # what it returns then is nobody's
    assert (lane.left, lane.over, connection.reply) == ([], [connection], b"")


async def test_all_are_left_when_the_lane_is_cleared_and_it_ends() -> None:
    lane = Lane(Rot13(), Limits())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.lane.run)
        connections = [lane.connect()[1] for _ in range(3)]
        await wait_all_tasks_blocked()
        lane.lane.drain()
    assert (lane.left, lane.over, len(lane.lane)) == (connections, [], 0)
    lane.close()


async def test_all_are_over_when_the_lane_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cipherecho")
    async with running() as lane:
        connections = [lane.connect()[1] for _ in range(3)]
    assert (lane.left, lane.over) == ([], connections)
    assert caplog.text.count("reason='cut'") == 3


# Listeners


async def test_whoever_waits_is_accepted_until_no_more_may_be() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        accepted: list[socket.socket] = []

        def accept() -> bool:
            accepted.append(listener.accept()[0])
            return len(accepted) < 3

        async with running() as lane, trio.open_nursery() as nursery:
            nursery.start_soon(lane.lane.accept_from, listener, accept)
            await turns()
            clients = [socket.create_connection(listener.getsockname()) for _ in range(5)]
            await turns()
            assert len(accepted) == 3
            assert not nursery.child_tasks  # it has returned
            nursery.start_soon(lane.lane.accept_from, listener, accept)
            await turns()
            assert len(accepted) == 4
        for one in [*clients, *accepted]:
            one.close()


async def test_nobody_is_accepted_any_more_when_accepting_is_cancelled() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with running() as lane:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lane.lane.accept_from, listener, lambda: False)
                await turns()
                nursery.cancel_scope.cancel()
            with socket.create_connection(listener.getsockname()):
                await turns()
            client, _, _ = lane.connect()  # and the others are still answered
            client.send(b"Hello\n")
            assert await answer(client) == b"Hello\nUryyb\n"


async def test_a_connection_that_comes_back_when_the_lane_was_cancelled_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "cipherecho")
    lane = Lane(Rot13(), Limits())
    with trio.CancelScope() as scope:
        scope.cancel()
        await lane.lane.run()
    _, connection, server = lane.connect()
    assert (lane.over, len(lane.lane)) == ([connection], 0)
    assert server.fileno() == -1
    assert caplog.text.count("reason='cut'") == 1
    lane.close()


async def test_accepting_again_when_the_lane_was_cancelled_is_cancelled_too() -> None:
    lane = Lane(Rot13(), Limits())
    with socket.create_server(("127.0.0.1", 0)) as listener, trio.CancelScope() as scope:
        scope.cancel()
        try:
            await lane.lane.run()
        finally:
            await lane.lane.accept_from(listener, lambda: True)
    assert scope.cancelled_caught


# Time


async def test_an_idle_connection_is_left_when_its_time_is_up(mock_clock: MockClock) -> None:
    async with running(limits=Limits(idle_timeout=60)) as lane:
        idle, busy = lane.connect(), lane.connect()
        for second in range(1, 62):
            mock_clock.jump(1)
            if second % 20 == 0:
                busy[0].send(b"a\n")
            await turns()
            assert lane.left == ([] if second < 60 else [idle[1]])
        assert idle[1].why_input_ended()[0] == "idle"


async def test_a_line_that_never_ends_is_left_when_its_time_is_up(mock_clock: MockClock) -> None:
    async with running(limits=Limits(idle_timeout=60, line_timeout=100)) as lane:
        client, connection, _ = lane.connect()
        for second in range(1, 103):
            if second % 20 == 1:
                client.send(b"x")  # the first at the time 0
                await turns()
            mock_clock.jump(1)
            await turns()
            assert lane.left == ([] if second < 100 else [connection])
        assert connection.why_input_ended()[0] == "line timeout"


async def test_the_time_of_a_line_starts_with_each_line(mock_clock: MockClock) -> None:
    async with running(limits=Limits(idle_timeout=60, line_timeout=100)) as lane:
        client, _, _ = lane.connect()
        for second in range(300):
            if second % 50 == 0:
                client.send(b"\nx")  # a line has always begun
                await turns()
            mock_clock.jump(1)
            await turns()
        assert lane.left == []


async def test_what_has_come_is_in_time_even_before_its_turn(mock_clock: MockClock) -> None:
    async with running(limits=Limits(idle_timeout=60)) as lane:
        client, _, _ = lane.connect()
        client.send(b"Hello\n")
        mock_clock.jump(61)
        assert await answer(client) == b"Hello\nUryyb\n"
        assert lane.left == []


async def test_without_timeouts_nobody_looks(autojump_clock: MockClock) -> None:
    async with running(limits=Limits(idle_timeout=inf, line_timeout=inf)) as lane:
        lane.connect()
        await trio.sleep(1_000_000)
        assert lane.left == []


# What it costs


class TaskSteps(trio.abc.Instrument):
    """Counts what Trio's scheduler does."""

    def __init__(self) -> None:
        self.spawned = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.spawned += 1


@contextmanager
def counting() -> Iterator[TaskSteps]:
    steps = TaskSteps()
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps
    finally:
        trio.lowlevel.remove_instrument(steps)


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


@asynccontextmanager
async def serving(limits: Limits | None = None) -> AsyncIterator[TcpEndpoint]:
    with trio.fail_after(PATIENCE):
        async with (
            open_listeners([TcpEndpoint("127.0.0.1", 0)]) as listeners,
            trio.open_nursery() as nursery,
        ):
            [endpoint] = await nursery.start(serve, listeners, Rot13(), limits)
            assert isinstance(endpoint, TcpEndpoint)
            await wait_all_tasks_blocked()
            yield endpoint
            nursery.cancel_scope.cancel()


def connect(endpoint: TcpEndpoint) -> socket.socket:
    """Connect without a task of Trio's."""
    client = socket.create_connection((endpoint.host, endpoint.port))
    client.setblocking(False)
    return client


async def receive(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        await trio.lowlevel.wait_readable(client)
        data += client.recv(size - len(data))
    return data


async def test_connections_from_first_to_last_need_no_task() -> None:
    async with serving() as endpoint:
        with counting() as steps:
            before = tasks()
            clients = [connect(endpoint) for _ in range(50)]
            for client in clients * 3:
                client.send(b"Hello\n")
                assert await receive(client, 12) == b"Hello\nUryyb\n"
            assert tasks() == before
            for client in clients:
                client.shutdown(socket.SHUT_WR)
                await trio.lowlevel.wait_readable(client)
                assert client.recv(1) == b""
                client.close()
            assert tasks() == before
        assert steps.spawned == 0


async def test_all_lines_that_wait_are_answered_in_one_turn() -> None:
    async with running() as lane:
        clients = [lane.connect()[0] for _ in range(50)]
        for client in clients:
            client.send(b"Hello\n")
        # One to find that the set is ready, one for the task that waits for it.
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        for client in clients:
            assert client.recv(100) == b"Hello\nUryyb\n"


async def test_a_connection_that_was_left_to_a_task_comes_back() -> None:
    async with serving() as endpoint:
        before = tasks()
        client = connect(endpoint)
        sent = 0
        while tasks() == before:  # until a reply is not taken
            try:
                sent += client.send((b"a line\n" * 1000)[sent % 7 :])
            except BlockingIOError:
                await trio.sleep(0.001)
            await turns()
        lines = sent // 7
        assert await receive(client, 14 * lines) == b"a line\nn yvar\n" * lines
        while tasks() > before:
            await trio.sleep(0.001)
        client.close()


async def test_a_busy_connection_starves_nobody() -> None:
    async with serving() as endpoint:
        block = b"a line\n" * 9000
        busy, quiet = connect(endpoint), connect(endpoint)

        async def flood() -> None:
            while True:
                await trio.lowlevel.wait_writable(busy)
                busy.send(block)

        async def drain() -> None:
            while True:
                await trio.lowlevel.wait_readable(busy)
                busy.recv(1 << 20)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            nursery.start_soon(drain)
            for _ in range(100):
                quiet.send(b"Hello\n")
                assert await receive(quiet, 12) == b"Hello\nUryyb\n"
            nursery.cancel_scope.cancel()
        busy.close()
        quiet.close()


async def test_other_tasks_have_their_turn_while_the_lane_has_always_something_to_do() -> None:
    async with running() as lane:
        endless, _, _ = lane.connect()

        class AlwaysMore(Session):
            """Asks for more as soon as it has answered, as a client next door would."""

            def receive(self, data: bytes, *rest: Any, **terms: Any) -> bytes:
                endless.send(b"a\n")
                endless.recv(1 << 16) if self.lines else None
                return super().receive(data, *rest, **terms)

        connection = next(iter(lane.lane._quiet.values()))
        connection.session = AlwaysMore(Rot13())
        endless.send(b"a\n")
        with trio.fail_after(PATIENCE):
            for _ in range(10):
                await trio.lowlevel.checkpoint()
        assert connection.session.lines > 10


async def test_other_tasks_have_their_turn_between_lines_that_take_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    class MostOfATurn:
        """Takes so long for a line that two are more than a turn, and one is not slow yet."""

        lines = 0

        def encrypt(self, body: bytes) -> bytes:
            self.lines += 1
            clock.now += 0.0008
            return body

    clock, cipher = Clock(), MostOfATurn()
    monkeypatch.setattr(express_lane, "perf_counter", clock)
    monkeypatch.setattr(slow_ciphers, "perf_counter", clock)
    monkeypatch.setattr(slow_ciphers, "usage", lambda: None)
    async with running(cipher) as lane:
        clients = [lane.connect()[0] for _ in range(20)]
        for client in clients:
            client.send(b"Hello\n")
        seen = [0]
        while cipher.lines < 20:
            await trio.lowlevel.checkpoint()
            seen.append(cipher.lines)
        # Trio runs the tasks that are ready in any order, so ours may come first and then last.
        assert max(after - before for before, after in itertools.pairwise(seen)) <= 4
        for client in clients:
            assert await answer(client) == b"Hello\nHello\n"


async def test_a_connection_that_has_left_since_the_set_was_asked_is_let_be() -> None:
    class Parting:
        """Makes the connection leave that was found ready together with its own."""

        def encrypt(self, body: bytes) -> bytes:
            lane.lane._hand_over(connections[1 - int(body)])
            return body

    async with running(Parting()) as lane:
        clients, connections, servers = zip(*[lane.connect() for _ in range(2)], strict=True)
        for number, client in enumerate(clients):
            client.send(b"%d\n" % number)
        await turns()
        [left] = lane.left
        gone = connections.index(left)
        assert servers[gone].receives == 0
        assert clients[1 - gone].recv(100) == b"%d\n" % (1 - gone) * 2


class FullSet:
    """An epoll set in which the system allows this user nothing more (max_user_watches)."""

    closed = False

    def __init__(self) -> None:
        self._set = select.epoll()

    def fileno(self) -> int:
        return self._set.fileno()

    def close(self) -> None:
        self.closed = True
        self._set.close()

    def register(self, descriptor: int, events: int) -> None:
        raise OSError(28, "No space left on device")


async def test_what_the_system_refuses_to_watch_is_served_by_a_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(express_lane, "epoll", FullSet)
    async with serving() as endpoint:
        client = connect(endpoint)
        for _ in range(3):
            client.send(b"Hello\n")
            assert await receive(client, 12) == b"Hello\nUryyb\n"
        client.close()
