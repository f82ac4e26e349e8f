"""Limits how many connections one source has, and how fast it opens them."""

from __future__ import annotations

from collections import Counter, OrderedDict
from math import inf
from typing import TypeAlias

import trio

from cipherecho.connections.counters import Refused
from cipherecho.settings.addresses import Source, source_of
from cipherecho.settings.limits import Limits

__all__ = ["MOST_RECENT_SOURCES", "Sources"]

MOST_RECENT_SOURCES = 65_536
"""How many sources' recent connections are remembered. That takes some 13 MiB, and who comes
from more addresses than these within one burst's time is not bounded by a rate for each."""

# How many tokens a bucket lacks, and the time when that was calculated.
_Bucket: TypeAlias = tuple[float, float]
_FULL: _Bucket = 0, 0


class Sources:
    """Admits a connection unless its source has too many, or opens them too fast.

    For the rate, each source has a token bucket.  A full bucket has ``limits.accept_burst`` tokens,
    a connection takes one, and ``limits.accept_rate`` return each second.  A refused connection
    takes no token, so a source that keeps trying still gets its rate.

    Memory is limited.  Counts exist only for sources that have connections now.  Buckets are in the
    order of their last use, and each use drops the oldest ones that are full again.  There are at
    most `MOST_RECENT_SOURCES`; beyond that, the oldest is forgotten.  There is no timer, and one
    use looks at no more than three buckets.

    An instance is false if nothing is limited, and needn't be called then.  It uses Trio's clock.

    Args:
      limits: of these, `max_connections_per_source`, `accept_rate` and `accept_burst`.
    """

    def __init__(self, limits: Limits) -> None:
        self._most = limits.max_connections_per_source
        self._counts: Counter[Source] = Counter()
        self._rate = limits.accept_rate
        self._burst = limits.accept_burst
        self._buckets: OrderedDict[Source, _Bucket] = OrderedDict()

    def __bool__(self) -> bool:
        return self._most < inf or self._rate < inf

    def admit(self, address: object) -> Refused | None:
        """Count a connection and return None, or return why it is refused.

        Args:
          address: from `accept` or a PROXY header.  Clients on Unix sockets have no source, and are
            always admitted.
        """
        source = source_of(address)
        if source is None:
            return None
        if self._counts[source] >= self._most:
            return Refused.SOURCE_FULL
        if self._rate < inf and not self._take_token(source):
            return Refused.SOURCE_RATE
        if self._most < inf:
            self._counts[source] += 1
        return None

    def give_back(self, address: object) -> None:
        """Stop counting an admitted connection that has ended."""
        source = source_of(address)
        if source is None or self._most == inf:
            return
        self._counts[source] -= 1
        if not self._counts[source]:
            del self._counts[source]

    def _take_token(self, source: Source) -> bool:
        now = trio.current_time()
        missing = self._missing(self._buckets.get(source, _FULL), now)
        if missing + 1 > self._burst:
            return False
        self._buckets[source] = missing + 1, now
        self._buckets.move_to_end(source)
        self._forget(now)
        return True

    def _missing(self, bucket: _Bucket, now: float) -> float:
        missing, since = bucket
        return max(0, missing - (now - since) * self._rate)

    def _forget(self, now: float) -> None:
        """Drop at most two old buckets, so that more are dropped than added."""
        for _ in range(2):
            oldest = next(iter(self._buckets))
            is_full = not self._missing(self._buckets[oldest], now)
            if not is_full and len(self._buckets) <= MOST_RECENT_SOURCES:
                return
            del self._buckets[oldest]
