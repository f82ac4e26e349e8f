"""Rate-limited logging, so that clients can't flood the log."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from math import inf

import trio

__all__ = ["FailureLog", "LogThrottle"]

log = logging.getLogger("cipherecho")

_SECONDS_BETWEEN_RECORDS = 1.0

# The most tracebacks in all, even if a plugin generates code while it runs.
_MOST_KNOWN = 1000

_MORE = " (%(untold)d times more since the last such record)"


class LogThrottle:
    """Limits warnings that clients can cause at will."""

    def __init__(self) -> None:
        self._next = -inf
        self._untold = 0

    def warn(self, message: str, fields: Mapping[str, object] | None = None) -> None:
        """Log a warning, or only count it if there was one within the last second.

        `message` is a template for `fields`, as in ``"full: %(most)d are served"``.  The record has
        the fields, and ``untold``, the number of warnings that were only counted.
        """
        now = trio.current_time()
        if now < self._next:
            self._untold += 1
            return
        log.warning(
            message + _MORE if self._untold else message,
            {**(fields or {}), "untold": self._untold},
        )
        self._next = now + _SECONDS_BETWEEN_RECORDS
        self._untold = 0


class FailureLog:
    """Logs failures that are bugs, each with its traceback once.

    Args:
      first: the message for a new failure.
      again: the message for a failure that was at the same place before.  It is rate-limited, and
        has no traceback.
    """

    def __init__(self, first: str, again: str) -> None:
        self._first = first
        self._again = again + ", as above: %(error)s at %(file)s:%(line)d"
        self._known: set[tuple[str, str, int]] = set()
        self._seldom = LogThrottle()

    def report(self, failure: BaseException, fields: Mapping[str, object] | None = None) -> None:
        """Log an exception; the messages are templates for `fields`."""
        file, line = "", 0
        for frame, number in traceback.walk_tb(failure.__traceback__):
            file, line = frame.f_code.co_filename, number
        name = type(failure).__name__
        if (name, file, line) in self._known or len(self._known) >= _MOST_KNOWN:
            place = {"error": name, "file": file, "line": line}
            self._seldom.warn(self._again, {**(fields or {}), **place})
            return
        self._known.add((name, file, line))
        log.error(self._first, *([fields] if fields else []), exc_info=failure)
