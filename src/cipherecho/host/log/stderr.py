"""Writes the log to standard error: as text, with a date except at a terminal, or as JSON."""

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

# How long writing one record may take in `logging_at_once`.
_PATIENCE_SECONDS = 1.0


@contextmanager
def logging_to_stderr(level: str, form: LogFormat = LogFormat.TEXT) -> Iterator[Log]:
    """Write records of `level` and above to standard error, from a thread of its own.

    If standard error is full or closed, or a record can't be formatted, nothing waits and nothing
    is raised: the record is lost and counted.  The log also gets warnings and errors that other
    packages log, Python's own warnings, and uncaught exceptions.

    Raises:
      NoThreadError: the system allows no more threads.
    """
    logging.raiseExceptions = False
    # Don't collect what our records don't show.  ("Optimization" in the logging HOWTO of Python's
    # documentation.)
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
    """Write warnings and errors to standard error as JSON, each at once and without a thread.

    This is for a program whose log has not started yet, or has ended.  It includes records of other
    packages, Python's own warnings, and uncaught exceptions.
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
    """The log on standard error.

    Raises:
      NoThreadError: the system allows no more threads.
    """

    def __init__(self, formatter: logging.Formatter) -> None:
        self._descriptor = sys.stderr.fileno()
        self.handler = _Handler(formatter, sys.stderr.encoding)
        """The handler to add to a logger."""
        self._queues: list[LineQueue] = []
        self._writers: list[LineWriter] = []
        self._begin_queue()
        self._start_writer()

    def lost(self) -> int:
        """Return how many records did not reach standard error."""
        return sum(one.dropped for one in self._queues) + sum(
            one.unwritten for one in self._writers
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """End the thread for the block; a new thread then writes the records that waited."""
        self.finish()
        # A writer that could not finish in time keeps the old queue.
        self._begin_queue()
        try:
            yield
        finally:
            self._start_writer()

    def finish(self) -> None:
        """Let the writer write the rest, and wait up to a second for it."""
        self._writers[-1].finish()

    def _begin_queue(self) -> None:
        self.handler.queue = LineQueue()
        self._queues.append(self.handler.queue)

    def _start_writer(self) -> None:
        self._writers.append(LineWriter(self.handler.queue, self._descriptor, self.handler.notice))


class _AtOnce(logging.Handler):
    """Writes each record at once; gives up a record that takes longer than a second."""

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
    """Formats records as lines, and puts them into the writer's queue."""

    queue: LineQueue

    def __init__(self, formatter: logging.Formatter, encoding: str) -> None:
        super().__init__()
        self._format = formatter.format
        self._encoding = encoding

    def emit(self, record: logging.LogRecord) -> None:
        # Formatting may fail: a record may contain a plugin's objects, and memory may be short.
        # Code that logs doesn't expect an exception.
        try:
            line = f"{self._format(record)}\n"
            self.queue.put(line.encode(self._encoding, "backslashreplace"))
        except KeyboardInterrupt:
            raise
        except BaseException:
            with suppress(MemoryError):
                self.queue.drop()

    def notice(self, missing: int) -> bytes:
        """Return the line that says how many records are missing."""
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
