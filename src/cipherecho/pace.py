"""How quick a cipher is, as its author says and as it was seen.

Whoever drives a session asks here whether it may code in the event loop, where everyone
else waits meanwhile, or has to go to a worker thread for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter

from cipherecho.cipher import Cipher
from cipherecho.coding import is_slow, table_of

__all__ = ["Pace"]

log = logging.getLogger("cipherecho")

# Nobody notices that someone else took so long, and a pause of the machine's own is
# rarely longer. A block of 64 KiB takes Playfair, the slowest of the ciphers here that
# anyone would use for much text, as long.
_SLOW_SECONDS = 0.02

# A cipher that was seen to be slow is let into the event loop again after so many calls in
# a row that were not, since the reason may have been the machine, or one very long line.
_QUICK_CALLS = 100


class Pace:
    """Tells whether a cipher is slow; all connections that share it share this."""

    def __init__(self, cipher: Cipher) -> None:
        self.constant = table_of(cipher) is not None
        """Whether it never has to be watched: a table takes a nanosecond a byte."""
        self.slow = is_slow(cipher)
        """Whether it is to be run in a worker thread for now."""
        self._declared = self.slow
        self._quick_calls = 0

    def timed(self, code: Callable[..., bytes], *data: bytes) -> bytes:
        """Return what `code` returns, having watched how long it took."""
        begin = perf_counter()
        try:
            return code(*data)
        finally:
            self._judge(perf_counter() - begin)

    def _judge(self, seconds: float) -> None:
        if self._declared:
            return
        if seconds > _SLOW_SECONDS:
            if not self.slow:
                log.info(
                    "the cipher took %(seconds).3f s at one go: it goes on in worker threads",
                    {"seconds": seconds},
                )
            self.slow = True
            self._quick_calls = 0
        elif self.slow:
            self._quick_calls += 1
            self.slow = self._quick_calls < _QUICK_CALLS
