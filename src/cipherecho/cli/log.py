"""The log on standard error: for people, short at a terminal and dated elsewhere; or in JSON.

A record's message is a template that names its fields (``"closed: peer=%(peer)s"``), and its
fields are the one argument: the text form puts them into the message, and JSON keeps them
apart, as what they are.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from enum import StrEnum
from functools import lru_cache
from math import isfinite
from queue import SimpleQueue
from threading import Thread

from cipherecho.printable import printable, shown

__all__ = ["LogFormat", "logging_to_stderr"]

# Records that wait for a standard error that nobody reads; beyond those, records are
# dropped, since the server must go on.
_MOST_WAITING = 10_000

# A writer that woke up for every record would take the interpreter from the server each
# time. So it lets records gather for so long after those that it wrote.
_GATHERING_SECONDS = 0.01

# How long the end of the program waits for them.
_LAST_SECONDS = 1.0

# Of a text record, and of each text in one of JSON.
_LONGEST_TEXT = 1000


class LogFormat(StrEnum):
    """What a record looks like."""

    TEXT = "text"
    """A line for people, with ``name=value`` for what machines may look for."""
    JSON = "json"
    """A line that is a JSON object, in ASCII: ``time`` (RFC 3339, UTC), ``level``,
    ``message``, the record's own fields, and ``traceback`` if there is one."""


@contextmanager
def logging_to_stderr(
    level: str, form: LogFormat = LogFormat.TEXT
) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Write records of `level` and above to standard error, from a thread of its own.

    A standard error that is full or gone delays nothing and raises nothing.

    What it yields returns a context without that thread: records wait until its end, when
    another thread goes on.
    """
    logging.raiseExceptions = False
    # What our records don't have need not be found out for them. ("Optimization" in the
    # logging HOWTO of Python's documentation.)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    handler = _Handler()
    handler.setFormatter(
        _JsonFormatter()
        if form is LogFormat.JSON
        else _TextFormatter(for_people=sys.stderr.isatty())
    )
    logger = logging.getLogger("cipherecho")
    logger.setLevel(level.upper())
    logger.addHandler(handler)
    logger.propagate = False
    writer = _Writer(handler.waiting)

    @contextmanager
    def paused() -> Iterator[None]:
        nonlocal writer
        writer.finish()
        # The old queue is left to a writer that could not finish.
        handler.waiting = SimpleQueue()
        try:
            yield
        finally:
            writer = _Writer(handler.waiting)

    try:
        yield paused
    finally:
        logger.removeHandler(handler)
        writer.finish()


class _Handler(logging.Handler):
    """Leaves records to a writer, as text."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: SimpleQueue[str | None] = SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        if self.waiting.qsize() < _MOST_WAITING:
            try:
                self.waiting.put(f"{self.format(record)}\n")
            except Exception:
                self.handleError(record)


class _Writer:
    """A thread that writes what is put into a queue to standard error."""

    def __init__(self, waiting: SimpleQueue[str | None]) -> None:
        self._waiting = waiting
        self._thread = Thread(target=_write, args=(waiting,), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Have the rest written, and wait a little for it; nothing may be put in any more."""
        self._waiting.put(None)
        self._thread.join(_LAST_SECONDS)


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


class _TextFormatter(logging.Formatter):
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
        text = printable(record.getMessage(), _LONGEST_TEXT)
        lines = [f"{date} {record.levelname.lower():7} {text}"]
        if record.exc_info:
            # Indented, so that a message with line ends in it can't forge a record.
            lines += [f"    {line}" for line in _traceback(self, record)]
        return "\n".join(lines)


class _JsonFormatter(logging.Formatter):
    """Makes a record a JSON object in one line of ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        fields = record.args if isinstance(record.args, dict) else {}
        message = _event(record.msg) if fields else None
        if message is None:
            message = printable(record.getMessage(), _LONGEST_TEXT)
        entry: dict[str, object] = {
            "time": f"{_utc(int(record.created))}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "message": message,
        }
        for name, value in fields.items():
            entry[name] = value if type(value) is int else _plain(value)
        if record.exc_info:
            entry["traceback"] = "\n".join(_traceback(self, record))
        return _encode(entry)


_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False, allow_nan=False).encode


@lru_cache(maxsize=1)  # many records have the same one
def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


@lru_cache(maxsize=64)  # each record's template, and there are fewer
def _event(template: str) -> str | None:
    """Return the message of a template whose fields are all listed after it; else None.

    >>> _event("closed: peer=%(peer)s lines=%(lines)d")
    'closed'
    """
    event = re.sub(r":( \w+=%\(\w+\)[^ ]+)+$", "", template)
    return None if "%" in event else event


def _plain(value: object) -> object:
    """Return what JSON can hold of a field."""
    if isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return value
    return printable(value if type(value) is str else shown(value), _LONGEST_TEXT)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> Iterator[str]:
    """Yield the lines of a record's traceback."""
    assert record.exc_info
    for line in formatter.formatException(record.exc_info).splitlines():
        yield printable(line, _LONGEST_TEXT)
