"""How much of a cipher's work may be done in the event loop, from what was seen of it."""

from __future__ import annotations

import logging
import time
from math import inf

import pytest

from cipherecho.cipher import Cipher
from cipherecho.ciphers.composition import chain, inverse
from cipherecho.connections.offload import slow_ciphers as module
from cipherecho.connections.offload.slow_ciphers import SlowCipherDetector, Usage, usage
from cipherecho.rot13 import Rot13
from cipherecho.session import Session
from tests.helpers.ciphers import Numbered, Picky


class SlowStateless(Picky):
    slow = True


class SlowStateful(Numbered):
    slow = True


class AlmostSlow(Picky):
    """Says something that is not True, and so not that it is slow."""

    slow = "no"


class Clock:
    """A clock that moves on when it is told so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Machine(Clock):
    """A clock, and what a thread had of the machine by it."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = 0.0
        self.waits = 0

    def usage(self) -> Usage:
        return Usage(self.now - self.paused, self.waits)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(module, "perf_counter", machine)
    monkeypatch.setattr(module, "usage", machine.usage)
    return machine


class Timed:
    """Takes as many seconds for a line as stand in it; `pause` is for the machine to make."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def encrypt(self, body: bytes) -> bytes:
        word, _, seconds = body.rpartition(b" ")
        self._machine.now += float(seconds)
        if word == b"pause":
            self._machine.paused += float(seconds)
        if word == b"sleep":
            self._machine.paused += float(seconds)
            self._machine.waits += 1
        return body


def lines_answered(detector: SlowCipherDetector, session: Session, data: bytes) -> int:
    """Return how many lines of `data` are answered in the event loop at a go."""
    before = session.lines
    if session.has_more:
        detector.time(session, session.resume)
    else:
        detector.time(session, session.receive, data)
    answered = session.lines - before
    while session.has_more:
        session.resume()
    return answered


@pytest.mark.parametrize(
    ("cipher", "slow"),
    [
        (Rot13(), False),
        (Picky(), False),
        (AlmostSlow(), False),
        (SlowStateless(), True),
        (SlowStateful(), True),
        (inverse(SlowStateless()), True),
        (inverse(SlowStateful()), True),
        (inverse(Picky()), False),
        (chain([Rot13(), SlowStateless(), Rot13()]), True),
        (inverse(chain([Picky(), SlowStateful()])), True),
        (chain([Picky(), Numbered()]), False),
    ],
)
def test_a_cipher_is_slow_if_it_or_a_stage_of_it_says_so(cipher: Cipher, slow: bool) -> None:
    assert (SlowCipherDetector(cipher).turn() == 0) is slow


def test_a_table_is_never_watched() -> None:
    assert SlowCipherDetector(Rot13()).never_slow
    assert SlowCipherDetector(Rot13()).turn() == inf
    assert SlowCipherDetector(chain([Rot13(), Rot13()])).never_slow
    assert not SlowCipherDetector(Picky()).never_slow


QUICK = b"1e-05\n"
DEAR = b"0.015\n"


def test_nothing_is_coded_in_the_event_loop_of_what_says_it_is_slow(machine: Machine) -> None:
    detector, session = SlowCipherDetector(SlowStateless()), Session(SlowStateless())
    assert detector.time(session, session.receive, b"a\n") == b""
    assert session.has_more
    assert detector.is_slow(session)
    for _ in range(200):
        detector.learn(0, 100)
    assert detector.turn() == 0


def test_a_turn_ends_soon_after_a_millisecond(machine: Machine) -> None:
    cipher = Timed(machine)
    detector, session = SlowCipherDetector(cipher), Session(cipher)
    for _ in range(20):
        lines_answered(detector, session, QUICK)
    # 100 lines of 0.01 ms, and the few until the clock is asked.
    assert 100 <= lines_answered(detector, session, QUICK * 1000) <= 108
    # Nobody can know what a line will cost, so some are begun.
    assert lines_answered(detector, session, DEAR * 600) <= 8


def test_a_line_that_is_thought_to_take_longer_is_not_begun(machine: Machine) -> None:
    cipher = Timed(machine)
    detector, session = SlowCipherDetector(cipher), Session(cipher)
    assert lines_answered(detector, session, b"0.001\n") == 1
    assert lines_answered(detector, session, b"0.001\n") == 1
    # By the bytes and what each line costs beside them: 160 are too many if 69 take 1 ms.
    assert lines_answered(detector, session, b"0.001".rjust(100) + b"\n") == 0


def test_what_is_known_of_nothing_is_one_line_of_a_kilobyte(machine: Machine) -> None:
    for size, answered in ((1024, 1), (1025, 0)):
        cipher = Timed(machine)
        session = Session(cipher)
        assert (
            lines_answered(SlowCipherDetector(cipher), session, b"0".rjust(size) + b"\n")
            == answered
        )


def test_a_line_costs_as_much_as_the_dearest_of_late(machine: Machine) -> None:
    detector = SlowCipherDetector(Picky())
    detector.learn(0.004, 100)
    assert detector.turn() == pytest.approx(50)
    turns = []
    for _ in range(30):
        detector.learn(0.00001, 100)
        turns.append(detector.turn())
    assert turns == sorted(turns)
    assert turns[2] < 100
    assert turns[-1] == pytest.approx(20_000)
    detector.learn(0.004, 100)
    assert detector.turn() == pytest.approx(50)


def test_a_cipher_that_held_up_the_loop_comes_back_ever_more_slowly(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cipherecho")
    cipher = Timed(machine)
    detector, session = SlowCipherDetector(cipher), Session(cipher)

    def time_away() -> float:
        for _ in range(30):
            lines_answered(detector, session, QUICK)
        assert lines_answered(detector, session, b"0.05\n") == 1
        begin = machine.now
        for _ in range(30):  # which a worker thread codes
            detector.learn(0.00001, 100)
        while not detector.turn():
            machine.now += 0.1
        return machine.now - begin

    away = [time_away() for _ in range(9)]
    # A hundred times as long as it held the loop up, then twice as long each time, to five minutes.
    assert away == pytest.approx([5, 10, 20, 40, 80, 160, 300, 300, 300], abs=0.2)
    machine.now += 3600
    assert time_away() == pytest.approx(5, abs=0.2)
    assert "the cipher Timed took 0.050 s in one call" in caplog.text


def test_a_long_pause_is_no_reason_to_stay_away_for_long(machine: Machine) -> None:
    cipher = Timed(machine)
    detector, session = SlowCipherDetector(cipher), Session(cipher)
    machine.waits = 0
    lines_answered(detector, session, b"1000\n")
    begin = machine.now
    while not detector.turn():
        machine.now += 1
    assert machine.now - begin <= 11


def test_a_pause_of_the_machine_is_not_held_against_a_cipher(machine: Machine) -> None:
    cipher = Timed(machine)
    detector, session = SlowCipherDetector(cipher), Session(cipher)
    for line in [QUICK, b"pause 0.1\n"] * 20:
        assert lines_answered(detector, session, line) == 1


def test_a_cipher_that_sleeps_is_found_out_when_it_does_so_again(machine: Machine) -> None:
    """The loop itself may have waited a moment before, so once is not enough."""
    cipher = Timed(machine)
    detector, session = SlowCipherDetector(cipher), Session(cipher)
    for _ in range(30):
        lines_answered(detector, session, QUICK)
    assert lines_answered(detector, session, b"sleep 0.1\n") == 1
    assert lines_answered(detector, session, QUICK) == 1
    assert lines_answered(detector, session, b"sleep 0.1\n") == 1
    assert lines_answered(detector, session, QUICK) == 0


def test_without_the_system_s_word_a_pause_counts_for_a_while(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "usage", lambda: None)
    cipher = Timed(machine)
    detector, session = SlowCipherDetector(cipher), Session(cipher)
    lines_answered(detector, session, b"pause 0.1\n")
    assert detector.turn() == 0
    machine.now += 11
    assert detector.turn() > 0


def test_the_system_says_when_a_thread_gave_up_the_processor() -> None:
    before = usage()
    if before is None:
        pytest.skip("nobody knows on this system")
    while usage() == before:
        pass
    worked = usage()
    time.sleep(0.001)
    slept = usage()
    assert worked is not None
    assert slept is not None
    assert slept.waits > worked.waits


def test_a_piece_for_a_worker_thread_takes_some_milliseconds() -> None:
    detector = SlowCipherDetector(SlowStateless())
    detector.learn(0.001, 100)
    assert detector.piece() == pytest.approx(2000)  # 20 ms
