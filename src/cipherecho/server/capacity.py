"""How many connections the process's file descriptors allow."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

__all__ = ["MOST_REFUSALS", "Capacity"]

log = logging.getLogger("cipherecho")

MOST_REFUSALS = 64
"""How many refused clients of a server get an error line at once.  This limits the cost of a flood
of connections: beyond it, clients of a full server wait in the backlog."""

# Descriptors in reserve: for a plugin's files, the event loop and late imports (32), and for
# clients of the metrics (33).
_SPARE = 65


class Capacity:
    """How many connections each server in a process can hold.

    If the limit of open files allows less than they want, each gets the same share of that, and a
    warning is logged.

    Args:
      wanted: how many connections each server wants to serve at once.
      raise_limit: first raise the process's limit, as far as the system allows.
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
        """Return how many connections a server that wants `wanted` may serve at once.

        There is room for the clients that it refuses, too.
        """
        if self._left >= self._needed:
            return wanted
        return max(1, int((wanted + MOST_REFUSALS) * self._left // self._needed) - MOST_REFUSALS)


def _descriptors_left() -> float:
    """Return how many more descriptors may be opened, without the reserve."""
    if sys.platform == "win32":  # which has no such limit
        return float("inf")
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return float("inf")
    return limit - _open_now() - _SPARE


def _allow_descriptors(wanted: int) -> None:
    """Raise the process's limit, as far as the system allows, until `wanted` are left."""
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
