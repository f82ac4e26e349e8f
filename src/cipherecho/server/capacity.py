"""How many connections the process can hold, as its file descriptors allow."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

__all__ = ["MOST_REFUSALS", "Capacity"]

log = logging.getLogger("cipherecho")

MOST_REFUSALS = 64
"""How many clients of a server at once are told why they are not served.  It bounds what a flood
of connections costs: when the server is full, those after them wait in the backlog."""

# For what is opened while the server runs: a plugin's files, the event loop's own
# descriptors, a module that is imported late (32), and those who ask for metrics (33).
_SPARE = 65


class Capacity:
    """How many connections each of some servers can hold; all of them are in one process.

    That is what they want, or the same share of it for each if the limit of open files does not
    allow that; a warning says so.

    Args:
      wanted: how many connections each wants to serve at once.
      raise_limit: raise the process's limit first, as far as the system lets it.
    """

    def __init__(self, wanted: Sequence[int], *, raise_limit: bool = False) -> None:
        self._needed = sum(one + MOST_REFUSALS for one in wanted)
        if raise_limit:
            _allow_descriptors(self._needed)
        self._left = _descriptors_left()
        if self._left < self._needed:
            log.warning(
                "serving %(most)d connections at once, not %(wanted)d: the limit of open files "
                "(ulimit -n) leaves no more",
                {"most": sum(map(self.share, wanted)), "wanted": sum(wanted)},
            )

    def share(self, wanted: int) -> int:
        """Return how many connections one of the servers, which wants so many, may serve at once.

        There is room for those that it refuses beside them.
        """
        if self._left >= self._needed:
            return wanted
        return max(1, int((wanted + MOST_REFUSALS) * self._left // self._needed) - MOST_REFUSALS)


def _descriptors_left() -> float:
    """Return how many descriptors may still be opened, some being kept in reserve."""
    if sys.platform == "win32":  # which has no such limit
        return float("inf")
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return float("inf")
    return limit - _open_now() - _SPARE


def _allow_descriptors(wanted: int) -> None:
    """Raise the process's limit, as far as the system lets it, so that `wanted` are left."""
    if sys.platform == "win32":
        return
    import resource

    missing = wanted - _descriptors_left()
    if missing <= 0:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = int(soft + missing)
    if hard != resource.RLIM_INFINITY:
        enough = min(enough, hard)
    with suppress(OSError, ValueError):  # macOS has a lower limit than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def _open_now() -> int:
    try:
        return len(os.listdir("/dev/fd"))  # noqa: PTH208
    except OSError:
        return _SPARE
