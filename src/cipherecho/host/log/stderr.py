"""The log on standard error: for people, short at a terminal and dated elsewhere; or in JSON."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cipherecho.host.log.form import OURS, formatter_for
from cipherecho.host.log.uncaught import uncaught_logged
from cipherecho.host.log.writer import LineQueue, LineWriter
from cipherecho.settings.process import LogFormat

__all__ = ["Log", "logging_at_once", "logging_to_stderr"]

# How long a record that is written at once may take.
_PATIENCE_SECONDS = 1.0


@contextmanager
def logging_to_stderr(level: str, form: LogFormat = LogFormat.TEXT) -> Iterator[Log]:
    """Write records of `level` and above to standard error, from a thread of its own.

    A standard error that is full or gone delays nothing and raises nothing, and no more does a
    record that can't be made: it is lost, and counted.  What other packages log comes there
    too, from warnings on, and so does what Python itself would write there: its warnings, and
    exceptions that nobody caught.

    Raises:
      NoThreadError: the system allows no thread.
    """
    logging.raiseExceptions = False
    # What our records don't have need not be found out for them. ("Optimization" in the
    # logging HOWTO of Python's documentation.)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    log = Log(formatter_for(form, sys.stderr.fileno()))
    logger, root = logging.getLogger(OURS), logging.getLogger()
    before = logger.propagate, root.handlers
    logger.setLevel(level.upper())
    logger.addHandler(log.handler)
    logger.propagate, root.handlers = False, [log.handler]
    try:
        with uncaught_logged():
            yield log
    finally:
        logger.removeHandler(log.handler)
        logger.propagate, root.handlers = before
        log.finish()


@contextmanager
def logging_at_once() -> Iterator[None]:
    """Write errors and warnings to standard error in JSON, each at once.

    This is for a program that can't have its log yet, or no more; records of other packages,
    and what Python itself says, are among them.
    """
    handler = _AtOnce(formatter_for(LogFormat.JSON, sys.stderr.fileno()))
    root = logging.getLogger()
    before, root.handlers = root.handlers, [handler]
    try:
        with uncaught_logged():
            yield
    finally:
        root.handlers = before


class Log:
    """A log that is written to standard error.

    Raises:
      NoThreadError: the system allows no thread.
    """

    def __init__(self, formatter: logging.Formatter) -> None:
        self._descriptor = sys.stderr.fileno()
        self.handler = _Handler(formatter, sys.stderr.encoding)
        """What records are given to."""
        self._queues: list[LineQueue] = []
        self._writers: list[LineWriter] = []
        self._begin_queue()
        self._start_writer()

    def lost(self) -> int:
        """Return how many records did not get to standard error."""
        return sum(one.dropped for one in self._queues) + sum(
            one.unwritten for one in self._writers
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do without the thread: records wait until the end, when another thread goes on."""
        self.finish()
        # The old queue is left to a writer that could not finish.
        self._begin_queue()
        try:
            yield
        finally:
            self._start_writer()

    def finish(self) -> None:
        """Have the rest written, and wait a little for it."""
        self._writers[-1].finish()

    def _begin_queue(self) -> None:
        self.handler.queue = LineQueue()
        self._queues.append(self.handler.queue)

    def _start_writer(self) -> None:
        self._writers.append(LineWriter(self.handler.queue, self._descriptor, self.handler.notice))


class _AtOnce(logging.Handler):
    """Writes records, as long as they are taken."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._descriptor = sys.stderr.fileno()

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):
            rest = f"{self.format(record)}\n".encode()
            until = time.monotonic() + _PATIENCE_SECONDS
            while rest and time.monotonic() < until:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:
                    time.sleep(0.01)


class _Handler(logging.Handler):
    """Leaves records to a writer, as lines."""

    queue: LineQueue

    def __init__(self, formatter: logging.Formatter, encoding: str) -> None:
        super().__init__()
        self._format = formatter.format
        self._encoding = encoding

    def emit(self, record: logging.LogRecord) -> None:
        # A record may hold what a plugin made, and memory may be short; nobody who logs
        # something reckons with an exception.
        try:
            line = f"{self._format(record)}\n"
            self.queue.put(line.encode(self._encoding, "backslashreplace"))
        except KeyboardInterrupt:
            raise
        except BaseException:
            with suppress(MemoryError):
                self.queue.drop()

    def notice(self, missing: int) -> bytes:
        """Return the line that tells how many records are missing."""
        record = logging.LogRecord(
            OURS,
            logging.WARNING,
            "",
            0,
            "records of the log were lost: number=%(number)d",
            ({"number": missing},),
            None,
        )
        return f"{self._format(record)}\n".encode(self._encoding, "backslashreplace")
