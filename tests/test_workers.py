"""Worker threads: a bounded number of them, and what comes back."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from cipherecho.workers import Workers

PATIENCE = 20


@asynccontextmanager
async def working(most: int) -> AsyncIterator[Workers]:
    workers = Workers(most)
    try:
        yield workers
    finally:
        workers.close()


def ours() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "cipherecho worker"]


async def until(came: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not came():
            await trio.sleep(0.001)


async def test_what_work_returns_and_raises_comes_back() -> None:
    def fail() -> bytes:
        raise KeyError("lost")

    async with working(1) as workers:
        assert await workers.run(lambda: b"done") == b"done"
        with pytest.raises(KeyError, match="lost"):
            await workers.run(fail)
        assert await workers.run(lambda: threading.current_thread().name.encode()) != (
            threading.main_thread().name.encode()
        )


async def test_one_thread_does_for_work_that_is_not_at_once() -> None:
    before = len(ours())
    async with working(8) as workers:
        for _ in range(10):
            await workers.run(lambda: b"")
        assert len(ours()) - before == 1
    await until(lambda: len(ours()) == before)


async def test_work_beyond_the_threads_waits_for_its_turn() -> None:
    go = threading.Event()
    at_once = []

    def hold() -> bytes:
        at_once.append(True)
        assert go.wait(PATIENCE)
        return b""

    async with working(2) as workers, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(workers.run, hold)
        await until(lambda: len(at_once) == 2)
        await trio.sleep(0.01)
        assert len(at_once) == 2
        go.set()
    assert len(at_once) == 5


async def test_without_threads_work_is_refused_and_with_one_it_waits_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    go = threading.Event()

    def hold() -> bytes:
        assert go.wait(PATIENCE)
        return b"held"

    async with working(2) as workers:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                await workers.run(hold)
        came: list[bytes] = []
        workers.submit(hold, lambda result, failure: came.append(result))
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            workers.submit(lambda: b"after", lambda result, failure: came.append(result))
        go.set()
        await until(lambda: len(came) == 2)
        assert came == [b"held", b"after"]


async def test_who_is_cancelled_does_not_wait_for_the_thread() -> None:
    go, ended = threading.Event(), threading.Event()

    def hold() -> bytes:
        assert go.wait(PATIENCE)
        ended.set()
        return b"late"

    async with working(1) as workers:
        with trio.move_on_after(0.01) as scope:
            await workers.run(hold)
        assert scope.cancelled_caught
        go.set()
        assert await workers.run(lambda: b"next") == b"next"
        assert ended.is_set()


def test_a_thread_outlives_the_loop_that_waited_for_it_and_ends() -> None:
    go = threading.Event()

    def hold() -> bytes:
        assert go.wait(PATIENCE)
        return b""

    async def leave() -> None:
        Workers(1).submit(hold, lambda result, failure: pytest.fail("nobody waits any more"))

    before = set(ours())
    trio.run(leave)
    [thread] = set(ours()) - before
    go.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
