"""Worker threads: shared out by time, bounded in number, and written off when a line never ends."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from math import inf

import pytest
import trio
from trio.testing import MockClock

from cipherecho.cipher import Cipher
from cipherecho.connections.counters import Counters
from cipherecho.connections.offload import workers as module
from cipherecho.connections.offload.slow_ciphers import SlowCipherDetector
from cipherecho.connections.offload.workers import Job, Workers
from cipherecho.session import Closed, Session
from cipherecho.settings.limits import Limits
from tests.helpers.ciphers import NumberedInBlocks

PATIENCE = 20


class Gated:
    """Codes a line `hold N` when gate N is open, whatever else at once; notes what it codes."""

    slow = True

    def __init__(self) -> None:
        self.gates = [threading.Event() for _ in range(20)]
        self.begun: list[bytes] = []
        self.at_once = 0
        self.most_at_once = 0
        self._counting = threading.Lock()

    def encrypt(self, body: bytes) -> bytes:
        with self._counting:
            self.begun.append(body)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        if body.startswith(b"hold "):
            assert self.gates[int(body[5:])].wait(PATIENCE)
        with self._counting:
            self.at_once -= 1
        return body.upper()

    def open_all(self) -> None:
        for gate in self.gates:
            gate.set()


class Client:
    """Whose lines are coded."""

    def __init__(self, session: Session, peer: str, source: Hashable) -> None:
        self.session = session
        self.peer = peer
        self.source = source
        self.worked_until = 0.0
        self.worked_at = 0.0


class Crew:
    """Workers, and clients of theirs."""

    def __init__(self, cipher: Cipher, limits: Limits) -> None:
        self.counters = Counters()
        self.detector = SlowCipherDetector(cipher)
        self.workers = Workers(limits, self.detector, self.counters)
        self._session = Session(cipher)

    def client(self, text: bytes, source: Hashable = None) -> Client:
        """Return a client whose lines wait."""
        client = Client(self._session.fresh(), "peer", source)
        self.receive(client, text)
        return client

    def receive(self, client: Client, text: bytes) -> None:
        assert client.session.receive(text, 0) == b""

    async def code(self, client: Client) -> bytes:
        """Have all lines of a client coded, in as many jobs as that takes."""
        replies = []
        while client.session.has_more:
            replies.append(await everything(self.workers.submit(client)))
        return b"".join(replies)


async def everything(job: Job) -> bytes:
    replies = [await job.news()]
    while not job.finished:
        replies.append(await job.news())
    return b"".join([*replies, job.take()])


@asynccontextmanager
async def working(cipher: Cipher, most: int, coding_timeout: float = inf) -> AsyncIterator[Crew]:
    crew = Crew(cipher, Limits(max_workers=most, coding_timeout=coding_timeout))
    try:
        yield crew
    finally:
        if isinstance(cipher, Gated):
            cipher.open_all()
        crew.workers.close()


def ours() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "cipherecho worker"]


async def until(came: Callable[[], bool]) -> None:
    """Wait for threads, by the real clock."""

    def wait() -> None:
        for _ in range(PATIENCE * 1000):
            if came():
                return
            threading.Event().wait(0.001)
        raise AssertionError("it did not come")

    await trio.to_thread.run_sync(wait)


async def until_later(seconds: float) -> None:
    """Wait until so much time has passed by the real clock."""
    end = time.perf_counter() + seconds
    await until(lambda: time.perf_counter() > end)


async def test_lines_come_back_in_order() -> None:
    async with working(Gated(), 1) as crew:
        client = crew.client(b"one\r\ntwo\nthree\n")
        assert await crew.code(client) == b"one\r\nONE\r\ntwo\nTWO\nthree\nTHREE\n"
        assert client.session.closed is None


async def test_what_a_session_must_not_raise_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(session: Session, most: float) -> bytes:
        raise MemoryError

    async with working(Gated(), 1) as crew:
        monkeypatch.setattr(Session, "answer_next", fail)
        with pytest.raises(MemoryError):
            await crew.code(crew.client(b"a\n"))


async def test_one_thread_does_for_jobs_that_are_not_at_once() -> None:
    before = set(ours())
    async with working(Gated(), 8) as crew:
        for _ in range(10):
            await crew.code(crew.client(b"a\n"))
        assert len(set(ours()) - before) == 1
    await until(lambda: not set(ours()) - before)


async def test_jobs_beyond_the_threads_wait_for_their_turn() -> None:
    cipher = Gated()
    async with working(cipher, 2) as crew, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(crew.code, crew.client(b"hold 0\n"))
        await until(lambda: len(cipher.begun) == 2)
        cipher.open_all()
    assert len(cipher.begun) == 5
    assert cipher.most_at_once == 2


async def test_without_threads_a_job_is_refused_and_with_one_it_waits_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    cipher = Gated()
    async with working(cipher, 2) as crew:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            client = crew.client(b"a\n")
            assert (await crew.code(client)).startswith(b"!error: the system has no thread")
            assert client.session.closed is Closed.NO_WORKER
        held = crew.workers.submit(crew.client(b"hold 0\n"))
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            after = crew.workers.submit(crew.client(b"after\n"))
        cipher.open_all()
        assert await held.news() == b"hold 0\nHOLD 0\n"
        assert await after.news() == b"after\nAFTER\n"


async def test_a_job_that_is_abandoned_ends_with_the_line_under_way() -> None:
    cipher = Gated()
    async with working(cipher, 1) as crew:
        job = crew.workers.submit(crew.client(b"hold 0\nnever\n"))
        await until(lambda: bool(cipher.begun))
        with trio.move_on_after(0):
            await job.news()
        job.abandon()
        cipher.open_all()
        assert await crew.code(crew.client(b"next\n")) == b"next\nNEXT\n"
    assert cipher.begun == [b"hold 0", b"next"]


def test_a_thread_outlives_the_loop_that_waited_for_it_and_ends() -> None:
    cipher = Gated()

    async def leave() -> None:
        crew = Crew(cipher, Limits())
        crew.workers.submit(
            crew.client(b"hold 0\n"), lambda job: pytest.fail("nobody waits any more")
        )

    before = set(ours())
    trio.run(leave)
    [thread] = set(ours()) - before
    cipher.open_all()
    thread.join(PATIENCE)
    assert not thread.is_alive()


# Fair by time.


class Lasting:
    """A line takes as many milliseconds as it says, by the real clock, or until the gate opens."""

    slow = True

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.is_at_the_gate = False

    def encrypt(self, body: bytes) -> bytes:
        if body == b"hold":
            self.is_at_the_gate = True
            assert self.gate.wait(PATIENCE)
        else:
            threading.Event().wait(float(body) / 1000)
        return body


async def test_who_comes_anew_is_next_however_much_others_have_waiting() -> None:
    finished: list[str] = []
    cipher = Lasting()

    async with working(cipher, 1) as crew, trio.open_nursery() as nursery:

        async def code(name: str, text: bytes) -> None:
            await crew.code(crew.client(text))
            finished.append(name)

        for name in ("one", "two", "three"):
            nursery.start_soon(code, name, b"hold\n" + b"5\n" * 20)
        await until(lambda: cipher.is_at_the_gate)
        nursery.start_soon(code, "late", b"1\n")
        await trio.testing.wait_all_tasks_blocked()
        cipher.gate.set()
    assert finished[0] == "late"


async def test_who_had_more_waits_longer() -> None:
    order: list[str] = []
    async with working(Lasting(), 1) as crew:
        greedy, modest = crew.client(b"200\n"), crew.client(b"1\n")
        await crew.code(greedy)
        await crew.code(modest)
        blocking = crew.workers.submit(crew.client(b"10\n"))
        crew.receive(greedy, b"1\n")
        crew.receive(modest, b"1\n")
        crew.workers.submit(greedy, lambda job: order.append("greedy"))
        crew.workers.submit(modest, lambda job: order.append("modest"))
        await everything(blocking)
        await until(lambda: len(order) == 2)
    assert order == ["modest", "greedy"]


async def test_who_pauses_for_as_long_as_its_lines_took_is_new_again() -> None:
    order: list[str] = []
    cipher = Gated()
    async with working(cipher, 1) as crew:
        held = crew.workers.submit(crew.client(b"hold 0\n"))
        greedy, modest = crew.client(b"a\n"), crew.client(b"a\n")
        greedy.worked_until, greedy.worked_at = 2.0, time.perf_counter() - 1
        modest.worked_until, modest.worked_at = 20.0, time.perf_counter() - 20
        crew.workers.submit(greedy, lambda job: order.append("greedy"))
        crew.workers.submit(modest, lambda job: order.append("modest"))
        cipher.open_all()
        await everything(held)
        await until(lambda: len(order) == 2)
    assert order == ["modest", "greedy"]


async def test_who_waits_long_is_due_before_those_who_come_anew() -> None:
    order: list[str] = []
    cipher = Gated()
    async with working(cipher, 1) as crew:
        held = crew.workers.submit(crew.client(b"hold 0\n"))
        greedy = crew.client(b"a\n")
        greedy.worked_until = 0.001
        greedy.worked_at = time.perf_counter()
        crew.workers.submit(greedy, lambda job: order.append("greedy"))
        await until_later(0.02)
        crew.workers.submit(crew.client(b"a\n"), lambda job: order.append("new"))
        cipher.open_all()
        await everything(held)
        await until(lambda: len(order) == 2)
    assert order == ["greedy", "new"]


async def test_threads_that_are_in_each_others_way_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    # However busy the machine is: as though these had one processor between them.
    monkeypatch.setattr(module, "_NEWEST_SHARE", 0)
    monkeypatch.setattr(module, "_LONG_SECONDS", inf)
    cipher = Gated()
    async with working(cipher, 16) as crew:
        crew.workers._processors = 1
        jobs = [crew.workers.submit(crew.client(b"hold %d\n" % gate)) for gate in range(16)]
        await until(lambda: len(cipher.begun) >= 2)
        await until_later(0.1)
        # Two, and on a busy machine some that a thread was about to begin when others were let in.
        # Without the bound, all 16 have begun.
        assert cipher.most_at_once <= 8
        cipher.open_all()
        for job in jobs:
            await everything(job)
    assert len(cipher.begun) == 16


async def test_a_job_ends_after_a_while_and_its_connection_goes_on_in_another() -> None:
    async with working(Lasting(), 1) as crew:
        client = crew.client(b"30\n" * 4)
        job = crew.workers.submit(client)
        assert await everything(job) == b"30\n" * 4  # two lines and their echoes
        assert client.session.has_more
        assert await crew.code(client) == b"30\n" * 4


async def test_what_is_coded_is_sent_though_the_next_line_takes_its_time() -> None:
    """WIRE, lines 7."""
    cipher = Gated()
    async with working(cipher, 1) as crew:
        job = crew.workers.submit(crew.client(b"a\n" * 100 + b"hold 0\n"))
        with trio.fail_after(PATIENCE):
            assert await job.news() == b"a\nA\n" * 100
        assert not job.finished
        cipher.open_all()
        assert await job.news() == b"hold 0\nHOLD 0\n"


# Lines that take longer than the coding time.


async def pass_the_time(clock: MockClock, cipher: Gated, begun: int, seconds: float) -> None:
    """Let so much time pass, after so many lines have begun and were seen to have."""
    await until(lambda: len(cipher.begun) == begun)
    clock.jump(0.03)  # for a look
    await trio.testing.wait_all_tasks_blocked()
    clock.jump(seconds)
    await trio.testing.wait_all_tasks_blocked()


async def test_a_line_that_takes_too_long_costs_its_connection(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    cipher = Gated()
    async with working(cipher, 2, coding_timeout=30) as crew:
        client = crew.client(b"a\nhold 0\r\nnever\n")
        session = client.session
        job = crew.workers.submit(client)
        await pass_the_time(mock_clock, cipher, 2, 29)
        assert await job.news() == b"a\nA\n"
        assert not job.finished
        await pass_the_time(mock_clock, cipher, 2, 1)
        assert await job.news() == (
            b"hold 0\r\n!error: this line took longer than 30 s to code, expected less; "
            b"closing the connection\r\n"
        )
        assert job.finished
        assert client.session.closed is Closed.CODING_TIMEOUT
        assert client.session.lines == 2
        assert crew.counters.workers_written_off == 1
        assert "its worker thread is written off: cipher=Gated peer=peer written_off=1" in (
            caplog.text
        )
        # The thread comes back, and what it brings is nobody's.
        cipher.open_all()
        while crew.counters.workers_written_off:
            await trio.lowlevel.checkpoint()
        assert client.session is not session
        assert (client.session.lines, job.take()) == (2, b"")
        assert await crew.code(crew.client(b"b\n")) == b"b\nB\n"
        assert cipher.begun == [b"a", b"hold 0", b"b"]


async def test_of_lines_that_are_coded_in_one_the_first_is_told_of(mock_clock: MockClock) -> None:
    gate, begun = threading.Event(), threading.Event()

    class Blocks(NumberedInBlocks):
        slow = True

        def encryptor(self):  # type: ignore[no-untyped-def]
            transform = super().encryptor()
            block = transform.block  # type: ignore[attr-defined]

            def held(text: bytes) -> object:
                begun.set()
                assert gate.wait(PATIENCE)
                return block(text)

            transform.block = held  # type: ignore[attr-defined]
            return transform

    async with working(Blocks(), 1, coding_timeout=30) as crew:
        client = crew.client(b"a\nb\nc\n")
        job = crew.workers.submit(client)
        await trio.to_thread.run_sync(begun.wait, PATIENCE)
        for seconds in (0.03, 31):
            mock_clock.jump(seconds)
            await trio.testing.wait_all_tasks_blocked()
        assert (await job.news()).startswith(
            b"a\n!error: one of these 3 lines took longer than 30 s"
        )
        gate.set()


async def test_a_thread_that_is_written_off_has_another_in_its_place(
    mock_clock: MockClock,
) -> None:
    cipher = Gated()
    async with working(cipher, 1, coding_timeout=1) as crew:
        stuck = crew.workers.submit(crew.client(b"hold 0\n"))
        waiting = crew.workers.submit(crew.client(b"b\n"))
        await pass_the_time(mock_clock, cipher, 1, 2)
        assert (await stuck.news()).startswith(b"hold 0\n!error: ")
        assert await waiting.news() == b"b\nB\n"


async def test_when_all_threads_are_written_off_clients_are_refused_until_one_returns(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    cipher = Gated()
    async with working(cipher, 1, coding_timeout=1) as crew:
        for number in range(2):
            assert not crew.counters.no_worker_left
            job = crew.workers.submit(crew.client(b"hold %d\n" % number))
            waiting = crew.workers.submit(crew.client(b"a\n")) if number else None
            await pass_the_time(mock_clock, cipher, number + 1, 2)
            assert b"!error: this line took longer" in await job.news()
        assert crew.counters.no_worker_left
        assert waiting is not None
        refused = crew.client(b"a\n")
        for reply in (await waiting.news(), await crew.code(refused)):
            assert reply == (
                b"!error: got a line while 2 earlier ones still block every worker thread, "
                b"expected a free one; closing the connection\n"
            )
        assert refused.session.closed is Closed.NO_WORKER
        assert caplog.text.count("no worker thread is left for the cipher Gated") == 1
        cipher.gates[0].set()
        while crew.counters.no_worker_left:
            await trio.lowlevel.checkpoint()
        assert "there are worker threads again for the cipher Gated" in caplog.text
        assert await crew.code(crew.client(b"a\n")) == b"a\nA\n"


async def test_a_source_may_lose_a_quarter_of_the_threads(mock_clock: MockClock) -> None:
    cipher = Gated()
    async with working(cipher, 8, coding_timeout=1) as crew:
        for number in range(2):
            job = crew.workers.submit(crew.client(b"hold %d\n" % number, "bad"))
            await pass_the_time(mock_clock, cipher, number + 1, 2)
            await everything(job)
        refused = crew.client(b"a\n", "bad")
        assert await crew.code(refused) == (
            b"!error: got a line while 2 from your address still take more than 1 s, expected at "
            b"most 2; closing the connection\n"
        )
        assert refused.session.closed is Closed.SOURCE_STUCK
        assert await crew.code(crew.client(b"a\n", "good")) == b"a\nA\n"
        assert await crew.code(crew.client(b"a\n", None)) == b"a\nA\n"
        cipher.gates[0].set()
        while crew.counters.workers_written_off > 1:
            await trio.lowlevel.checkpoint()
        assert await crew.code(crew.client(b"a\n", "bad")) == b"a\nA\n"


async def test_a_source_that_lost_its_share_has_none_of_the_threads_that_come_after(
    mock_clock: MockClock,
) -> None:
    cipher = Gated()
    async with working(cipher, 1, coding_timeout=1) as crew:
        held = crew.workers.submit(crew.client(b"hold 0\n", "bad"))
        waiting = [crew.workers.submit(crew.client(b"a\n", who)) for who in ("bad", "good")]
        await pass_the_time(mock_clock, cipher, 1, 2)
        await everything(held)
        assert (await everything(waiting[0])).startswith(b"!error: got a line while 1 from your")
        assert await everything(waiting[1]) == b"a\nA\n"


async def test_a_thread_of_a_client_that_is_gone_is_written_off_too(mock_clock: MockClock) -> None:
    cipher = Gated()
    async with working(cipher, 1, coding_timeout=1) as crew:
        job = crew.workers.submit(crew.client(b"hold 0\n"))
        job.abandon()
        await pass_the_time(mock_clock, cipher, 1, 2)
        assert crew.counters.workers_written_off == 1
        assert await crew.code(crew.client(b"a\n")) == b"a\nA\n"
