"""Records of what can happen over and over, told so that nobody can fill a log with it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from math import inf

import trio

__all__ = ["Failures", "Seldom"]

log = logging.getLogger("cipherecho")

_SECONDS_BETWEEN_RECORDS = 1.0

_MORE = " (%(untold)d times more since the last such record)"


class Seldom:
    """Warns at most once in a while of what strangers can bring about at will."""

    def __init__(self) -> None:
        self._next = -inf
        self._untold = 0

    def warn(self, message: str, fields: Mapping[str, object] | None = None) -> None:
        """Log a warning, or count it for the next one if there was one a moment ago.

        `message` is a template for `fields`, as in ``"full: %(most)d are served"``; the
        record has them, and ``untold``, how many warnings were only counted.
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


class Failures:
    """Logs what faulty ciphers raise, each with its traceback once."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str, int]] = set()
        self._again = Seldom()

    def report(self, failure: BaseException) -> None:
        """Log what a cipher raised; what it raised there before is told seldom and in short."""
        file, line = "", 0
        for frame, number in traceback.walk_tb(failure.__traceback__):
            file, line = frame.f_code.co_filename, number
        kind = (type(failure).__name__, file, line)
        if kind in self._known:
            self._again.warn(
                "the cipher failed again, as above: %(error)s at %(file)s:%(line)d",
                {"error": kind[0], "file": file, "line": line},
            )
            return
        self._known.add(kind)
        log.error("the cipher failed; this is a bug of its plugin", exc_info=failure)
