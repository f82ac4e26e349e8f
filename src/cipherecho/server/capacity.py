"""How many connections the process may hold, as its file descriptors allow."""

from __future__ import annotations

import os
from contextlib import suppress

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

__all__ = ["allow_descriptors", "descriptors_left"]

# For what is opened while the server runs: a plugin's files, the event loop's own
# descriptors, a module that is imported late (32), and those who ask for metrics (33).
_SPARE = 65


def descriptors_left() -> float:
    """Return how many descriptors may still be opened, some being kept in reserve."""
    if resource is None:
        return float("inf")
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return float("inf")
    return limit - _open_now() - _SPARE


def allow_descriptors(wanted: int) -> None:
    """Raise the process's limit, as far as the system lets it, so that `wanted` are left."""
    missing = wanted - descriptors_left()
    if resource is None or missing <= 0:
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
