"""The log on standard error: short for people at a terminal, with the date otherwise."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import QueueHandler
from queue import Full, Queue
from threading import Thread

from cipherecho.printable import printable

__all__ = ["logging_to_stderr"]

# Records that wait for a standard error that nobody reads; beyond those, records are
# dropped, since the server must go on.
_MOST_WAITING = 10_000

# How long the end of the program waits for them.
_LAST_SECONDS = 1.0

_LONGEST_RECORD = 1000


@contextmanager
def logging_to_stderr(level: str) -> Iterator[None]:
    """Write records of `level` and above to standard error, from a thread of its own.

    A standard error that is full or gone delays nothing and raises nothing.
    """
    logging.raiseExceptions = False
    waiting: Queue[logging.LogRecord | None] = Queue(_MOST_WAITING)
    formatting = QueueHandler(waiting)
    formatting.setFormatter(_Formatter(for_people=sys.stderr.isatty()))
    writer = Thread(target=_write, args=(waiting,), daemon=True)
    logger = logging.getLogger("cipherecho")
    logger.setLevel(level.upper())
    logger.addHandler(formatting)
    logger.propagate = False
    writer.start()
    try:
        yield
    finally:
        logger.removeHandler(formatting)
        with suppress(Full):
            waiting.put_nowait(None)
        writer.join(_LAST_SECONDS)


def _write(waiting: Queue[logging.LogRecord | None]) -> None:
    """Write records to standard error, up to the first None."""
    # Not through sys.stderr, nor a handler of the standard library: each has a lock, which
    # a write that never ends would hold for ever, and the end of the program waits for it.
    descriptor, encoding = sys.stderr.fileno(), sys.stderr.encoding
    while record := waiting.get():
        with suppress(OSError):
            os.write(descriptor, f"{record.getMessage()}\n".encode(encoding, "backslashreplace"))


class _Formatter(logging.Formatter):
    """Makes a record one line; what strangers sent can't break out of it."""

    def __init__(self, *, for_people: bool) -> None:
        super().__init__()
        self._date = "%H:%M:%S" if for_people else "%Y-%m-%dT%H:%M:%S"
        self._for_people = for_people

    def format(self, record: logging.LogRecord) -> str:
        date = time.strftime(self._date, time.localtime(record.created))
        if not self._for_people:
            date += f".{int(record.msecs):03}{time.strftime('%z')}"
        text = printable(record.getMessage(), _LONGEST_RECORD)
        lines = [f"{date} {record.levelname.lower():7} {text}"]
        if record.exc_info:
            # Indented, so that a message with line ends in it can't forge a record.
            traceback = self.formatException(record.exc_info).splitlines()
            lines += [f"    {printable(line, _LONGEST_RECORD)}" for line in traceback]
        return "\n".join(lines)
