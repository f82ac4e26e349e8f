"""One connection driven by its own task, on memory streams and a clock that jumps on.

No test here waits for real: `autojump_clock` moves time on when every task waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Any

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from cipherecho.cipher import Cipher
from cipherecho.connections.connection import Connection, Terms
from cipherecho.connections.connection_task import ConnectionTask
from cipherecho.connections.counters import Counters
from cipherecho.connections.offload.slow_ciphers import SlowCipherDetector
from cipherecho.connections.offload.workers import Workers
from cipherecho.network.streams import close_gently
from cipherecho.rot13 import Rot13
from cipherecho.session import Session
from cipherecho.settings.limits import Limits
from tests.helpers.ciphers import Faulty, Held

Stream = trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream]

# After its last words the server discards input for so long at the most.
LINGER = 1.0


class Served:
    """A connection under test, and its client's end."""

    def __init__(
        self, pair: Callable[[], tuple[Stream, Stream]], cipher: Cipher, limits: Limits
    ) -> None:
        self.client, self.server = pair()
        self.failures: list[BaseException] = []
        self.ended = trio.Event()
        self.session = Session(cipher, max_line=limits.max_line)
        detector = SlowCipherDetector(cipher)
        self.workers = Workers(limits, detector, Counters())
        terms = Terms(limits, detector, self.workers, self.failures.append)
        self.task = ConnectionTask(Connection(self.session, terms, "peer"), self.server)

    async def run(self) -> None:
        async with self.server:
            assert not await self.task.run()
        self.workers.close()
        self.ended.set()

    async def read_to_end(self) -> bytes:
        return b"".join([part async for part in self.client])

    async def ended_after(self) -> float:
        await self.ended.wait()
        return trio.current_time()


@asynccontextmanager
async def served(
    cipher: Cipher | None = None,
    limits: Limits | None = None,
    pair: Callable[[], tuple[Any, Any]] = memory_stream_pair,
) -> AsyncIterator[Served]:
    """Serve one connection; the clock starts at 0, and it has to end by itself."""
    one = Served(pair, cipher or Rot13(), limits or Limits())
    assert trio.current_time() == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        yield one
        with trio.fail_after(10_000):
            await one.ended.wait()


async def test_lines_are_answered_as_they_come_and_the_rest_at_end_of_input(
    autojump_clock: MockClock,
) -> None:
    async with served() as one:
        await one.client.send_all(b"Hello\r\nWor")
        assert await one.client.receive_some() == b"Hello\r\nUryyb\r\n"
        await one.client.send_all(b"ld\nrest")
        assert await one.client.receive_some() == b"World\nJbeyq\n"
        await one.client.send_eof()
        assert await one.read_to_end() == b"rest\nerfg\n"


async def test_end_of_input_closes_at_once(autojump_clock: MockClock) -> None:
    async with served() as one:
        await one.client.send_eof()
        assert await one.read_to_end() == b""
        assert await one.ended_after() == 0


async def test_all_lines_of_a_receive_are_answered_with_one_send(autojump_clock: MockClock) -> None:
    sent: list[int] = []
    async with served() as one:
        send_all = one.server.send_all

        async def counted(data: bytes) -> None:
            sent.append(len(data))
            await send_all(data)

        one.server.send_all = counted  # type: ignore[method-assign,assignment]
        await one.client.send_all(b"a line\n" * 9000)  # 63,000 bytes: one receive
        await one.client.send_eof()
        await one.read_to_end()
    assert sent == [2 * 9000 * len(b"a line\n")]


# WIRE: no byte for the idle time


async def test_an_idle_client_is_told_and_closed_after_the_idle_time(
    autojump_clock: MockClock,
) -> None:
    async with served(limits=Limits(idle_timeout=60)) as one:
        words = await one.client.receive_some()
        assert trio.current_time() == 60
        assert words == (
            b"!error: got nothing for 60 s, expected a line within that time; "
            b"closing the connection\n"
        )
        assert await one.read_to_end() == b""
        assert trio.current_time() == 60


async def test_every_byte_starts_the_idle_time_afresh(autojump_clock: MockClock) -> None:
    async with served(limits=Limits(idle_timeout=60)) as one:
        for byte in (b"a", b"b", b"\n"):
            await trio.sleep(50)
            await one.client.send_all(byte)
        assert await one.client.receive_some() == b"ab\nno\n"
        assert trio.current_time() == 150
        await one.client.receive_some()
        assert trio.current_time() == 150 + 60


async def test_no_idle_time_is_no_bound(autojump_clock: MockClock) -> None:
    async with served(limits=Limits(idle_timeout=inf)) as one:
        await trio.sleep(9_000)
        await one.client.send_all(b"still here\n")
        assert await one.client.receive_some() == b"still here\nfgvyy urer\n"
        await one.client.send_eof()


async def test_what_comes_in_the_last_instant_is_in_time(mock_clock: MockClock) -> None:
    async with served(limits=Limits(idle_timeout=60)) as one:
        await wait_all_tasks_blocked()
        await one.client.send_all(b"Hello\n")
        mock_clock.jump(60)  # before the server has its turn
        assert await one.client.receive_some() == b"Hello\nUryyb\n"
        await one.client.send_eof()


# TRAPS: an idle client that sends one byte a minute


async def test_a_line_that_never_ends_is_bounded_in_time(autojump_clock: MockClock) -> None:
    async with served(limits=Limits(idle_timeout=90, line_timeout=300)) as one:

        async def drip() -> None:
            with suppress(trio.BrokenResourceError):  # when the server has closed
                while True:
                    await one.client.send_all(b"x")
                    await trio.sleep(60)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip)
            words = await one.client.receive_some()
            assert trio.current_time() == 300
            assert words.startswith(b"!error: got no end of the line for 300 s")
            assert await one.ended_after() <= 300 + LINGER


async def test_the_time_of_a_line_starts_with_each_line(autojump_clock: MockClock) -> None:
    async with served(limits=Limits(idle_timeout=90, line_timeout=300)) as one:
        # A new line has always begun when the one before ends.
        await one.client.send_all(b"a")
        for _ in range(20):
            await trio.sleep(80)
            await one.client.send_all(b"\na")
            assert await one.client.receive_some() == b"a\nn\n"
        await one.client.send_eof()


async def test_bytes_of_one_line_do_not_start_its_time_afresh(autojump_clock: MockClock) -> None:
    async with served(limits=Limits(idle_timeout=90, line_timeout=100)) as one:
        await one.client.send_all(b"done\nbegun")
        assert await one.client.receive_some() == b"done\nqbar\n"
        await trio.sleep(80)
        await one.client.send_all(b" and going on")
        assert (await one.client.receive_some()).startswith(b"!error: got no end of the line")
        assert trio.current_time() == 100


# WIRE: the reply is not taken within the write time


async def test_a_client_that_does_not_read_is_closed_after_the_write_time(
    autojump_clock: MockClock,
) -> None:
    async with served(limits=Limits(write_timeout=30), pair=lockstep_stream_pair) as one:
        await one.client.send_all(b"Hello\n")
        assert await one.ended_after() == 30
        with pytest.raises(trio.BrokenResourceError):
            await one.client.send_all(b"more\n")


async def test_last_replies_that_are_not_taken_are_a_write_timeout_too(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cipherecho")
    async with served(limits=Limits(write_timeout=30), pair=lockstep_stream_pair) as one:
        await one.client.send_all(b"Hello")
        await one.client.send_eof()
        assert await one.ended_after() == 30
    assert "reason='write timeout'" in caplog.text


async def test_a_client_that_does_not_read_is_not_read_from(autojump_clock: MockClock) -> None:
    async with served(limits=Limits(write_timeout=30), pair=lockstep_stream_pair) as one:
        await one.client.send_all(b"one\n")
        with trio.move_on_after(29) as scope:
            await one.client.send_all(b"two\n")  # in lockstep: until the server reads
        assert scope.cancelled_caught
        assert one.session.lines == 1


async def test_the_write_time_starts_with_each_reply(autojump_clock: MockClock) -> None:
    async with served(limits=Limits(write_timeout=30), pair=lockstep_stream_pair) as one:
        for _ in range(10):
            await one.client.send_all(b"a\n")
            await trio.sleep(20)
            assert await one.client.receive_some() == b"a\nn\n"
        await one.client.send_eof()


# A slow cipher


@pytest.mark.parametrize("drained", [False, True])
async def test_the_time_that_a_slow_cipher_takes_is_not_its_clients(
    mock_clock: MockClock, drained: bool
) -> None:
    cipher = Held()
    async with served(cipher, Limits(idle_timeout=60, write_timeout=30)) as one:
        await one.client.send_all(b"hold\n")
        await trio.to_thread.run_sync(cipher.begun.wait, 20)
        if drained:
            one.task.drain()
        mock_clock.jump(1000)
        await wait_all_tasks_blocked()
        cipher.go.set()
        assert await one.client.receive_some() == b"hold\nHOLD\n"
        await one.client.send_eof()


# TRAPS: closing with unread input resets the connection


async def test_after_an_error_line_input_is_discarded_for_a_bounded_time(
    autojump_clock: MockClock,
) -> None:
    async with served(limits=Limits(max_line=3)) as one:
        await one.client.send_all(b"abcd")
        assert (await one.client.receive_some()).startswith(b"!error: got a line of more than 3")
        assert await one.client.receive_some() == b""  # half-closed
        await one.client.send_all(b"what is not answered\n" * 100)
        assert not one.ended.is_set()
        assert await one.ended_after() == LINGER


async def test_a_client_that_sends_on_after_an_error_line_is_discarded_for_longer(
    autojump_clock: MockClock,
) -> None:
    async with served(limits=Limits(max_line=3)) as one:
        await one.client.send_all(b"abcd")
        with suppress(trio.BrokenResourceError):
            while True:
                await trio.sleep(0.9)
                await one.client.send_all(b"what is not answered")
        # Five seconds, and what it takes the client to notice.
        assert 5 <= await one.ended_after() <= 5 + 0.9
        assert (await one.client.receive_some()).startswith(b"!error: ")


async def test_discarding_ends_when_the_client_closes(autojump_clock: MockClock) -> None:
    async with served(limits=Limits(max_line=3)) as one:
        await one.client.send_all(b"abcd")
        await one.client.receive_some()
        await one.client.send_eof()
        assert await one.ended_after() == 0


async def test_last_words_that_nobody_reads_delay_the_end_for_a_bounded_time(
    autojump_clock: MockClock,
) -> None:
    async with served(limits=Limits(idle_timeout=60), pair=lockstep_stream_pair) as one:
        assert await one.ended_after() == 60 + LINGER


async def test_close_gently_leaves_the_closing_to_its_caller(autojump_clock: MockClock) -> None:
    client, server = memory_stream_pair()
    await close_gently(server, b"bye\n")
    assert await client.receive_some() == b"bye\n"
    await server.aclose()


# Shutdown


async def test_drain_closes_an_idle_connection_soon(autojump_clock: MockClock) -> None:
    async with served() as one:
        await wait_all_tasks_blocked()
        one.task.drain()
        assert await one.read_to_end() == b""
        await one.client.send_eof()
        assert await one.ended_after() <= 0.05


async def test_drain_answers_complete_lines_and_drops_one_that_has_begun(
    autojump_clock: MockClock,
) -> None:
    async with served() as one:
        await one.client.send_all(b"one\ntwo\nthr")
        one.task.drain()
        assert await one.read_to_end() == b"one\nbar\ntwo\ngjb\n"
        await one.client.send_eof()


async def test_drain_ends_a_client_that_never_pauses_at_the_end_of_a_line(
    autojump_clock: MockClock,
) -> None:
    async with served() as one:
        sent = 0

        async def hurry() -> None:
            nonlocal sent
            with suppress(trio.BrokenResourceError):
                while True:
                    await one.client.send_all(b"on\n")
                    sent += 1
                    await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hurry)
            await trio.sleep(5)
            one.task.drain()
            answered = await one.read_to_end()
            # Read from for half a second more, and answered whole.
            assert trio.current_time() <= 5 + 0.5
            assert answered == b"on\nba\n" * one.session.lines
            assert one.session.lines >= 500


async def test_a_client_that_does_not_read_delays_a_drain_no_longer_than_its_write_time(
    autojump_clock: MockClock,
) -> None:
    async with served(limits=Limits(write_timeout=3), pair=lockstep_stream_pair) as one:
        await one.client.send_all(b"Hello\n")
        one.task.drain()
        assert await one.ended_after() == 3


# What goes wrong


async def test_a_faulty_cipher_is_reported_and_its_client_told(autojump_clock: MockClock) -> None:
    async with served(Faulty(lambda body: 1 / 0)) as one:
        await one.client.send_all(b"Hello!\n")
        words = await one.client.receive_some()
        assert words == (
            b"Hello!\n!error: the cipher failed on this line (ZeroDivisionError); "
            b"closing the connection\n"
        )
        await one.client.send_eof()
    assert [type(failure) for failure in one.failures] == [ZeroDivisionError]


async def test_a_faulty_cipher_is_reported_even_if_its_client_is_gone(
    autojump_clock: MockClock,
) -> None:
    async with served(Faulty(lambda body: 1 / 0)) as one:
        await one.client.send_all(b"Hello!\n")
        await trio.aclose_forcefully(one.client)
    assert [type(failure) for failure in one.failures] == [ZeroDivisionError]


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("end", "end of input"),
        ("reset", "reset by the client"),
        ("idle", "idle"),
        ("drip", "line timeout"),
        ("overlong", "line too long"),
        ("drain", "shutdown"),
    ],
)
async def test_however_it_ends_the_log_has_one_record_of_it(
    autojump_clock: MockClock, act: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "cipherecho")
    async with served(limits=Limits(max_line=5, idle_timeout=9, line_timeout=5)) as one:
        await one.client.send_all(b"Hello\n")
        await one.client.receive_some()
        if act == "end":
            await one.client.send_eof()
        elif act == "reset":
            await one.client.send_all(b"more\n")
            await trio.aclose_forcefully(one.client)
        elif act == "drip":
            await one.client.send_all(b"x")
        elif act == "overlong":
            await one.client.send_all(b"123456")
        elif act == "drain":
            one.task.drain()
    [record] = caplog.records
    assert f"reason={reason!r}" in record.message
    assert "peer=peer" in record.message
    assert record.exc_info is None


async def test_the_record_counts_lines_and_bytes(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cipherecho")
    async with served() as one:
        await one.client.send_all(b"a\nbb\n")
        await one.client.send_eof()
        await one.read_to_end()
    [record] = caplog.records
    assert "lines=2 rejected=0 received=5 sent=10 seconds=0.000" in record.message
