"""When a cipher counts as slow: if it says so, or as long as it is seen to be."""

from __future__ import annotations

import logging

import pytest

from cipherecho import pace as module
from cipherecho.chain import chain, inverse
from cipherecho.cipher import Cipher
from cipherecho.pace import Pace
from cipherecho.rot13 import Rot13
from tests.ciphers import Numbered, Picky


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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "perf_counter", clock)
    return clock


def code(pace: Pace, clock: Clock, seconds: float) -> None:
    """Have a line coded that takes so long."""

    def coding(body: bytes) -> bytes:
        clock.now += seconds
        return body[::-1]

    assert pace.timed(coding, b"abc") == b"cba"


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
    assert Pace(cipher).slow is slow


def test_a_table_is_never_watched() -> None:
    assert Pace(Rot13()).constant
    assert Pace(chain([Rot13(), Rot13()])).constant
    assert not Pace(Picky()).constant


def test_a_cipher_is_slow_once_it_was_seen_to_be(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cipherecho")
    pace = Pace(Picky())
    code(pace, clock, 0.019)
    assert not pace.slow
    code(pace, clock, 0.021)
    assert pace.slow
    code(pace, clock, 0.5)
    [record] = caplog.records
    assert "took 0.021 s" in record.message


def test_a_call_that_fails_is_watched_too(clock: Clock) -> None:
    def failing() -> bytes:
        clock.now += 1
        raise ValueError

    pace = Pace(Picky())
    with pytest.raises(ValueError, match=r"^$"):
        pace.timed(failing)
    assert pace.slow


def test_it_is_quick_again_after_a_hundred_quick_calls_in_a_row(clock: Clock) -> None:
    pace = Pace(Picky())
    code(pace, clock, 1)
    for _ in range(99):
        code(pace, clock, 0.001)
    assert pace.slow
    code(pace, clock, 1)
    for _ in range(99):
        code(pace, clock, 0.001)
    assert pace.slow
    code(pace, clock, 0.001)
    assert not pace.slow


def test_one_that_says_it_is_slow_stays_so(clock: Clock) -> None:
    pace = Pace(SlowStateless())
    for _ in range(200):
        code(pace, clock, 0)
    assert pace.slow
