"""Threads for what would hold up the event loop: a bounded number, kept for the next call.

Trio's own are made for anything; a call through one costs half as much again as the whole
of answering a line.  These are made for many short calls: the loop puts what is to be done
into a queue, and what came of it comes back by the loop's own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeAlias

import trio

__all__ = ["Done", "Work", "Workers"]

Work: TypeAlias = Callable[[], bytes]
"""What a thread is to do."""

Done: TypeAlias = Callable[[bytes, BaseException | None], None]
"""Called in the event loop with what work returned, or with nothing and what it raised."""


class Workers:
    """Worker threads of one server.

    They are started when they are first needed, and end with :meth:`close`.  One that is
    still at work then, or when the process ends, is not waited for.

    Args:
      most: how many there are at the most; what is submitted beyond that waits its turn.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._threads = 0
        self._under_way = 0  # or waiting; like the above, the event loop's alone
        self._queue: SimpleQueue[tuple[Work, Done] | None] = SimpleQueue()

    def submit(self, work: Work, done: Done) -> None:
        """Have `work` done by a thread, and `done` called in the event loop after it.

        If the loop has ended by then, `done` is not called any more.

        Raises:
          RuntimeError: there is no thread, and the system allows none; nothing is done.
        """
        if self._threads < min(self._under_way + 1, self._most):
            self._start_thread()
        self._under_way += 1
        self._queue.put((work, done))

    async def run(self, work: Work) -> bytes:
        """Return what `work` returns, or raise what it raises, having had a thread do it.

        When this is cancelled, the thread is left to itself and what it returns is lost.
        """
        task = trio.lowlevel.current_task()
        came: list[tuple[bytes, BaseException | None]] = []
        waits = True

        def done(result: bytes, failure: BaseException | None) -> None:
            if waits:
                came.append((result, failure))
                trio.lowlevel.reschedule(task)

        def cancelled(_: object) -> trio.lowlevel.Abort:
            nonlocal waits
            waits = False
            return trio.lowlevel.Abort.SUCCEEDED

        self.submit(work, done)
        await trio.lowlevel.wait_task_rescheduled(cancelled)
        [(result, failure)] = came
        if failure is not None:
            raise failure
        return result

    def close(self) -> None:
        """Let the threads end; nothing may be submitted any more."""
        for _ in range(self._threads):
            self._queue.put(None)

    def _start_thread(self) -> None:
        token = trio.lowlevel.current_trio_token()
        thread = threading.Thread(
            target=self._work, args=(token,), name="cipherecho worker", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the system allows no more
            if not self._threads:
                raise
        else:
            self._threads += 1

    def _work(self, token: trio.lowlevel.TrioToken) -> None:
        while job := self._queue.get():
            work, done = job
            result, failure = b"", None
            try:
                result = work()
            except BaseException as raised:  # it is for whoever waits for it
                failure = raised
            try:
                token.run_sync_soon(self._hand_over, done, result, failure)
            except trio.RunFinishedError:
                return
            del job, work, done, result, failure  # what is not needed is not kept

    def _hand_over(self, done: Done, result: bytes, failure: BaseException | None) -> None:
        self._under_way -= 1
        done(result, failure)
