"""Finds out how slow a cipher is, from what its author says and from measurements.

The drivers ask here how much they may code in the event loop, where everything else waits
meanwhile, and which lines have to go to a worker thread.  The cost of a line is estimated from
earlier lines: each unit of its weight (see :mod:`cipherecho.session`) costs as much as in the
slowest recent line.
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
"""How long the event loop codes in one turn; the line that is being coded then still ends.  Nobody
notices a delay this short, and the work between two turns costs 2 %."""

# The event loop doesn't begin a line, or a batch of lines, that is expected to take longer.
_LONGEST_SECONDS = 0.002

# How long a worker thread codes in one call, if the cipher codes many lines in one.  These lines
# are answered together, and lost together.
_PIECE_SECONDS = 0.02

# Before the first measurement, a line of a kilobyte is expected to take `_LONGEST_SECONDS`.
_FIRST_WEIGHT = 1088

# After a quicker call, the estimate falls at most by this factor, so that a single quick line
# doesn't make a slow cipher look quick.
_FALL = 0.8

# A coarse clock may measure no time at all.
_LEAST_SECONDS = 1e-12

# A call in the event loop that took this long delayed other clients: the cost of its lines was
# unpredictable.  (A cipher that is always slow is known to be so after its first line.)
_HELD_UP_SECONDS = 0.005

# If a call took this long, and twice the estimate, the machine may have paused.
_SUSPECT_SECONDS = 0.0002

# How often the event loop's processor time is read, which costs 2 µs.  After the thread has waited
# for something, in the cipher or in the loop, it is read before every call for a while.
_SECONDS_BETWEEN_LOOKS = 0.002
_SHORTEST_SUSPICION = 1.0

# After a delay, the cipher stays in worker threads for this many times as long, so that it delays
# the loop for at most 1 % of the time; and twice as long each time that it happens again soon.
# Both are limited, since a pause of the machine can look the same.
_AWAY_TIMES = 100
_LONGEST_FIRST_TIME_AWAY = 10.0
_LONGEST_TIME_AWAY = 300.0

# A delay counts as "again soon" up to this many times the last stay in worker threads.
_SOON_TIMES = 10


class Usage(NamedTuple):
    """What a thread has used of the machine."""

    seconds: float
    """Its processor time."""
    waits: int
    """How often it gave up the processor by itself, to sleep or to wait for something."""


def usage() -> Usage | None:
    """Return what this thread has used so far; None if the platform doesn't say."""
    if sys.platform == "linux":
        # Not getrusage's processor time: that is only as exact as the system's tick, 4 ms.
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
    """Tells how much a cipher can code in a given time; all connections of a server share one.

    Args:
      cipher: the cipher to watch.
    """

    def __init__(self, cipher: Cipher) -> None:
        self.never_slow = table_of(cipher) is not None
        """Whether the cipher needs no watching: a table takes a nanosecond a byte."""
        self.name = name_of(cipher)
        """The cipher's name in the log."""
        # The seconds for a unit of weight, and the weight that fits into a turn.
        self._seconds = _LONGEST_SECONDS / _FIRST_WEIGHT
        self._turn: float = inf if self.never_slow else _FIRST_WEIGHT
        self._is_fixed = self.never_slow
        if is_slow(cipher):
            self._turn, self._is_fixed = 0, True
        self._knows_nothing = True
        # What the event loop had used before the last call, or shortly before that.
        self._used = usage()
        self._look_again = -inf
        self._suspects_until = -inf
        self._is_away = False
        self._away_until = -inf
        self._seconds_away = 0.0

    def turn(self) -> float:
        """Return the weight that the event loop may code in one turn; 0 means nothing."""
        if self._is_away:
            self._is_away = perf_counter() < self._away_until
            return 0 if self._is_away else self._turn
        return self._turn

    def piece(self) -> float:
        """Return the weight that a worker thread may code in one call."""
        return _PIECE_SECONDS / self._seconds

    def is_slow(self, session: _Session) -> bool:
        """Return whether a worker thread has to code the next line of a session."""
        return session.due > self.turn()

    def receive(self, session: _Session, data: bytes) -> bytes:
        """Return a session's replies to `data`, or to the end of input if it is empty.

        This codes at most one turn's worth; the rest stays in the session, which has more then.
        """
        if self.never_slow:
            return session.receive(data) if data else session.end()
        if data:
            return self.time(session, session.receive, data)
        return self.time(session, session.end)

    def time(self, session: _Session, answering: Callable[..., bytes], *data: bytes) -> bytes:
        """Call `answering`, a method of a session, for at most one turn, and measure it.

        It gets `data`, the weight that it may code, and a function that says whether the turn's
        time is over.
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
        """Read what the event loop has used, before a call that begins now."""
        self._used = usage()
        is_sure = begin < self._suspects_until
        self._look_again = begin if is_sure else begin + _SECONDS_BETWEEN_LOOKS

    def learn(self, seconds: float, weight: int) -> None:
        """Update the estimate: coding `weight` took so many seconds, in any thread."""
        each = seconds / weight
        if not self._knows_nothing:
            each = max(each, _FALL * self._seconds)
        self._knows_nothing = False
        self._seconds = max(each, _LEAST_SECONDS)
        if not self._is_fixed:
            self._turn = _LONGEST_SECONDS / self._seconds

    def _without_pauses(self, begin: float, seconds: float) -> float:
        """Return how long a call took, without pauses of the machine as far as they are known."""
        before, used = self._used, usage()
        if before is None or used is None:
            return seconds
        if used.waits != before.waits:
            if begin < self._suspects_until:  # read just before the call, so the cipher waited
                return seconds
            self._suspects_until = begin + max(_SHORTEST_SUSPICION, _AWAY_TIMES * seconds)
            self._look_again = -inf
        return min(seconds, used.seconds - before.seconds)

    def _stay_away(self, now: float, seconds: float) -> None:
        """Keep the cipher out of the event loop for a while, as it has just delayed that."""
        log.info(
            "the cipher %(cipher)s took %(seconds).3f s in one call: worker threads run it now",
            {"cipher": self.name, "seconds": seconds},
        )
        again_until = self._away_until + _SOON_TIMES * self._seconds_away
        if now < again_until:
            self._seconds_away = min(2 * self._seconds_away, _LONGEST_TIME_AWAY)
        else:
            self._seconds_away = min(_AWAY_TIMES * seconds, _LONGEST_FIRST_TIME_AWAY)
        self._is_away = True
        self._away_until = now + self._seconds_away
