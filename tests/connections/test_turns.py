"""Turns of the event loop: who codes in it, and how much between two looks at everything else."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from cipherecho.connections.offload.turns import Turns


class Passes:
    """Counts how often the scheduler comes round, and what was coded between two of those."""

    def __init__(self) -> None:
        self.coded = [0.0]

    async def count(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.coded.append(0)


async def code(turns: Turns, passes: Passes, seconds: float, done: list[int], number: int) -> None:
    await turns.wait()
    passes.coded[-1] += seconds
    turns.spend(seconds)
    done.append(number)


async def test_nobody_waits_as_long_as_there_is_little_to_do() -> None:
    turns = Turns()
    for _ in range(9):
        assert not turns.must_wait
        turns.spend(0.0001)
    turns.spend(0.0002)
    assert turns.must_wait
    await trio.lowlevel.checkpoint()
    await wait_all_tasks_blocked()
    assert not turns.must_wait


async def test_a_thousand_who_come_at_once_code_for_a_millisecond_at_a_go() -> None:
    turns, passes = Turns(), Passes()
    done: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(passes.count)
        async with trio.open_nursery() as coding:
            for number in range(1000):
                coding.start_soon(code, turns, passes, 0.0009, done, number)
        nursery.cancel_scope.cancel()
    assert len(done) == 1000
    # Tasks of one pass are run in any order, so two turns may come next to each other.
    assert max(passes.coded) <= 4 * 0.001


async def test_many_who_code_little_share_a_turn() -> None:
    turns, passes = Turns(), Passes()
    for _ in range(100):
        turns.spend(0.00001)
    done: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(passes.count)
        async with trio.open_nursery() as coding:
            for number in range(1000):
                coding.start_soon(code, turns, passes, 0.00001, done, number)
        nursery.cancel_scope.cancel()
    # 10 ms in all, a hundred lines at a time.
    assert len(done) == 1000
    assert len(passes.coded) < 200


async def test_who_is_cancelled_while_it_waits_keeps_nobody_waiting() -> None:
    turns, passes = Turns(), Passes()
    done: list[int] = []
    turns.spend(1)
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            scope.cancel()
            await turns.wait()
        nursery.start_soon(code, turns, passes, 0.001, done, 1)
    assert done == [1]


async def test_a_turn_that_fails_to_begin_delays_others_for_five_seconds_at_most(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(lot: trio.lowlevel.ParkingLot, *, count: float = 1) -> list[trio.lowlevel.Task]:
        raise MemoryError

    turns = Turns()
    monkeypatch.setattr(trio.lowlevel.ParkingLot, "unpark", fail)
    turns.spend(1)
    begin = trio.current_time()
    await turns.wait()
    assert trio.current_time() - begin <= 5
