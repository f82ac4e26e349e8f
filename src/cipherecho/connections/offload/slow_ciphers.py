"""How quick a cipher is, as its author says and as it was seen.

Whoever drives a session asks here how much of what waits it may code in the event loop, where
everyone else waits meanwhile, and what has to go to a worker thread.  What a line costs is
known from those before it: as much for each unit of its weight (see
:mod:`cipherecho.session`) as the dearest of late.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from math import inf
from time import perf_counter, thread_time
from typing import NamedTuple, Protocol

from cipherecho.cipher import Cipher
from cipherecho.ciphers.composition import name_of
from cipherecho.ciphers.shapes import is_slow, table_of

if sys.platform == "linux":
    from resource import RUSAGE_THREAD, getrusage

__all__ = ["TURN_SECONDS", "SlowCipherDetector", "Usage", "usage"]

log = logging.getLogger("cipherecho")

TURN_SECONDS = 0.001
"""For so long the event loop codes at a go, and then until the line under way has ended: nobody
notices that someone else took so long, and what comes between two turns costs a fiftieth."""

# What is thought to take longer is not begun in the event loop, be it one line or many at once.
_LONGEST_SECONDS = 0.002

# So much is coded in one by a worker thread, if the cipher codes many lines in one. They are
# answered together, and lost together.
_PIECE_SECONDS = 0.02

# Before anything is known, a line of a kilobyte may take so long.
_FIRST_WEIGHT = 1088

# With each call that was quicker, what a unit of weight is thought to cost falls by this, so
# that a single quick line does not make a dear one's neighbours look cheap.
_FALL = 0.8

# A coarse clock may say that it took no time at all.
_LEAST_SECONDS = 1e-12

# A call in the event loop that took so long held others up: what its lines cost was not to be
# foreseen. (A cipher that is merely dear is known as that after its first line.)
_HELD_UP_SECONDS = 0.005

# What took that long, and twice as long as was thought, may have been a pause of the machine.
_SUSPECT_SECONDS = 0.0002

# How much of the processor the event loop had is looked up so often, which costs two microseconds;
# and each time for a while after somebody has waited, the cipher or the loop, nobody knows who.
_SECONDS_BETWEEN_LOOKS = 0.002
_SHORTEST_SUSPICION = 1.0

# After it was held up, the cipher has to stay in worker threads for so many times as long, so that
# it holds the loop up for a hundredth of the time at most; and for twice as long each time that
# it happens again soon. Where a pause of the machine looks alike, there are ends to it.
_AWAY_TIMES = 100
_LONGEST_FIRST_TIME_AWAY = 10.0
_LONGEST_TIME_AWAY = 300.0

# What happens later than so many times as long after a cipher was away is a first time again.
_SOON_TIMES = 10


class Usage(NamedTuple):
    """What a thread had of the machine."""

    seconds: float
    """How long it had a processor."""
    waits: int
    """How often it gave that up by itself, to sleep or to wait for something."""


def usage() -> Usage | None:
    """Return what this thread had of the machine up to now; None where nobody knows."""
    if sys.platform == "linux":
        # The processor time in here is as exact as the system's tick, which is 4 ms.
        return Usage(thread_time(), getrusage(RUSAGE_THREAD).ru_nvcsw)
    return None


class _Session(Protocol):
    @property
    def weight(self) -> int: ...

    @property
    def due(self) -> int: ...

    def receive(self, data: bytes, /) -> bytes: ...

    def end(self) -> bytes: ...


class SlowCipherDetector:
    """Tells how much of a cipher's work fits into a time; all who share it share this.

    Args:
      cipher: the cipher.
    """

    def __init__(self, cipher: Cipher) -> None:
        self.never_slow = table_of(cipher) is not None
        """Whether it never has to be watched: a table takes a nanosecond a byte."""
        self.name = name_of(cipher)
        """What it is called in the log."""
        # What a unit of weight takes, and what of it fits into a turn, unless that is fixed.
        self._seconds = _LONGEST_SECONDS / _FIRST_WEIGHT
        self._turn: float = inf if self.never_slow else _FIRST_WEIGHT
        self._is_fixed = self.never_slow
        if is_slow(cipher):
            self._turn, self._is_fixed = 0, True
        self._knows_nothing = True
        # What the event loop had of the machine before a call, or a little earlier.
        self._used = usage()
        self._look_again = -inf
        self._suspects_until = -inf
        self._is_away = False
        self._away_until = -inf
        self._seconds_away = 0.0

    def turn(self) -> float:
        """Return the weight that may be coded in the event loop at a go: 0 for none at all."""
        if self._is_away:
            self._is_away = perf_counter() < self._away_until
            return 0 if self._is_away else self._turn
        return self._turn

    def piece(self) -> float:
        """Return the weight that a worker thread may code in one."""
        return _PIECE_SECONDS / self._seconds

    def is_slow(self, session: _Session) -> bool:
        """Return whether the next line of a session has to be coded by a worker thread."""
        return session.due > self.turn()

    def receive(self, session: _Session, data: bytes) -> bytes:
        """Return what a session answers to `data`, or to its end if that is empty.

        No more is coded than may be in the event loop at a go; the session has more then.
        """
        if self.never_slow:
            return session.receive(data) if data else session.end()
        if data:
            return self.time(session, session.receive, data)
        return self.time(session, session.end)

    def time(self, session: _Session, answering: Callable[..., bytes], *data: bytes) -> bytes:
        """Return what `answering` of a session returns, which codes no more than a turn's worth.

        It is given `data`, the weight that it may code, and what tells it that the turn is
        over, should that be earlier; and it is watched.
        """
        weight = session.weight
        most = self.turn() if self._is_away else self._turn
        begin = perf_counter()
        end = begin + TURN_SECONDS
        if begin >= self._look_again:
            self._look(begin)
        try:
            return answering(*data, most, lambda: perf_counter() > end)
        finally:
            if coded := session.weight - weight:
                seconds = perf_counter() - begin
                if seconds > _SUSPECT_SECONDS and seconds > 2 * coded * self._seconds:
                    seconds = self._without_pauses(begin, seconds)
                    if seconds > _HELD_UP_SECONDS:
                        self._stay_away(perf_counter(), seconds)
                self.learn(seconds, coded)

    def _look(self, begin: float) -> None:
        """See what the event loop had of the machine before a call that begins now."""
        self._used = usage()
        is_sure = begin < self._suspects_until
        self._look_again = begin if is_sure else begin + _SECONDS_BETWEEN_LOOKS

    def learn(self, seconds: float, weight: int) -> None:
        """Take into account that coding so much took so long, wherever it was coded."""
        each = seconds / weight
        if not self._knows_nothing:
            each = max(each, _FALL * self._seconds)
        self._knows_nothing = False
        self._seconds = max(each, _LEAST_SECONDS)
        if not self._is_fixed:
            self._turn = _LONGEST_SECONDS / self._seconds

    def _without_pauses(self, begin: float, seconds: float) -> float:
        """Return how long a call took without pauses that the machine made, as far as is known."""
        before, used = self._used, usage()
        if before is None or used is None:
            return seconds
        if used.waits != before.waits:
            if begin < self._suspects_until:  # nobody else did anything since `before`
                return seconds
            self._suspects_until = begin + max(_SHORTEST_SUSPICION, _AWAY_TIMES * seconds)
            self._look_again = -inf
        return min(seconds, used.seconds - before.seconds)

    def _stay_away(self, now: float, seconds: float) -> None:
        """Keep the cipher out of the event loop for a while; it held that up until now."""
        log.info(
            "the cipher %(cipher)s took %(seconds).3f s at one go: it goes on in worker threads",
            {"cipher": self.name, "seconds": seconds},
        )
        again_until = self._away_until + _SOON_TIMES * self._seconds_away
        if now < again_until:
            self._seconds_away = min(2 * self._seconds_away, _LONGEST_TIME_AWAY)
        else:
            self._seconds_away = min(_AWAY_TIMES * seconds, _LONGEST_FIRST_TIME_AWAY)
        self._is_away = True
        self._away_until = now + self._seconds_away
