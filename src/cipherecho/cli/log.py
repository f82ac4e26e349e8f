"""The log on standard error: short for people at a terminal, with the date otherwise."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from queue import SimpleQueue
from threading import Thread

from cipherecho.printable import printable

__all__ = ["logging_to_stderr"]

# Records that wait for a standard error that nobody reads; beyond those, records are
# dropped, since the server must go on.
_MOST_WAITING = 10_000

# A writer that woke up for every record would take the interpreter from the server each
# time. So it lets records gather for so long after those that it wrote.
_GATHERING_SECONDS = 0.01

# How long the end of the program waits for them.
_LAST_SECONDS = 1.0

_LONGEST_RECORD = 1000


@contextmanager
def logging_to_stderr(level: str) -> Iterator[None]:
    """Write records of `level` and above to standard error, from a thread of its own.

    A standard error that is full or gone delays nothing and raises nothing.
    """
    logging.raiseExceptions = False
    # What our records don't have need not be found out for them. ("Optimization" in the
    # logging HOWTO of Python's documentation.)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    waiting: SimpleQueue[str | None] = SimpleQueue()
    handler = _Handler(waiting)
    handler.setFormatter(_Formatter(for_people=sys.stderr.isatty()))
    writer = Thread(target=_write, args=(waiting,), daemon=True)
    logger = logging.getLogger("cipherecho")
    logger.setLevel(level.upper())
    logger.addHandler(handler)
    logger.propagate = False
    writer.start()
    try:
        yield
    finally:
        logger.removeHandler(handler)
        waiting.put(None)
        writer.join(_LAST_SECONDS)


class _Handler(logging.Handler):
    """Leaves records to the writer, as text."""

    def __init__(self, waiting: SimpleQueue[str | None]) -> None:
        super().__init__()
        self._waiting = waiting

    def emit(self, record: logging.LogRecord) -> None:
        if self._waiting.qsize() < _MOST_WAITING:
            try:
                self._waiting.put(f"{self.format(record)}\n")
            except Exception:
                self.handleError(record)


def _write(waiting: SimpleQueue[str | None]) -> None:
    """Write records to standard error, up to the first None."""
    # Not through sys.stderr, nor a handler of the standard library: each has a lock, which
    # a write that never ends would hold for ever, and the end of the program waits for it.
    descriptor, encoding = sys.stderr.fileno(), sys.stderr.encoding
    while record := waiting.get():
        # One write each, so that those of other processes don't come in between.
        with suppress(OSError):
            os.write(descriptor, record.encode(encoding, "backslashreplace"))
        if waiting.empty():
            time.sleep(_GATHERING_SECONDS)


class _Formatter(logging.Formatter):
    """Makes a record one line; what strangers sent can't break out of it."""

    def __init__(self, *, for_people: bool) -> None:
        super().__init__()
        self._for_people = for_people
        self._date = lru_cache(maxsize=1)(self._date_of)  # many records have the same one

    def _date_of(self, second: int) -> tuple[str, str]:
        """Return a date up to its seconds, and what comes after those."""
        local = time.localtime(second)
        if self._for_people:
            return time.strftime("%H:%M:%S", local), ""
        return time.strftime("%Y-%m-%dT%H:%M:%S", local), time.strftime("%z", local)

    def format(self, record: logging.LogRecord) -> str:
        date, zone = self._date(int(record.created))
        if not self._for_people:
            date += f".{int(record.msecs):03}{zone}"
        text = printable(record.getMessage(), _LONGEST_RECORD)
        lines = [f"{date} {record.levelname.lower():7} {text}"]
        if record.exc_info:
            # Indented, so that a message with line ends in it can't forge a record.
            traceback = self.formatException(record.exc_info).splitlines()
            lines += [f"    {printable(line, _LONGEST_RECORD)}" for line in traceback]
        return "\n".join(lines)
