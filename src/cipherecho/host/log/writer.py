"""Writes lines to standard error from a thread of its own, so that logging never blocks.

The queue is limited.  Lost lines are counted, and a record in their place says how many they were.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

from cipherecho.errors import CipherechoError

__all__ = ["LineQueue", "LineWriter", "NoThreadError"]

# The limit of the queue, in bytes: about 14,000 ordinary records.  Beyond it, lines are lost, since
# the server must go on.
_MOST_WAITING = 4 * 2**20

# The memory that Python needs for each line besides its bytes, so that short lines are limited too.
_LINE_OVERHEAD = 128

# After an overflow, lines are lost until the queue is down to this.  So a reader that is slightly
# too slow gets an occasional gap, not one after every line.
_FULL_UNTIL = _MOST_WAITING * 3 // 4

# After writing, the writer lets lines gather for this long.  Waking for every line would take the
# interpreter's lock from the server each time.
_GATHERING_SECONDS = 0.01

# If standard error is non-blocking and full, the writer tries again after this long.  With a pipe,
# that still writes 6 MB a second.
_RETRY_SECONDS = 0.01

# How long the end of the program waits for the remaining lines.
_LAST_SECONDS = 1.0


class NoThreadError(CipherechoError, OSError):
    """The system allows no more threads; `purpose` says what this one was for."""

    def __init__(self, purpose: str) -> None:
        self.purpose = purpose
        super().__init__(
            f"can't start a thread for {purpose}: the system allows this user or container no "
            "more threads; raise the limit (ulimit -u, TasksMax, --pids-limit), or end other "
            "processes"
        )


class _Gap:
    """Marks a place in the queue where lines are missing."""

    reached = False


class LineQueue:
    """Lines that wait for the writer.

    Only one thread at a time may put lines in.  Putting never blocks.  There is no lock: each
    number is changed by only one side.
    """

    def __init__(self) -> None:
        self.dropped = 0
        """How many lines were dropped."""
        self._lines: SimpleQueue[bytes | _Gap | None] = SimpleQueue()
        self._gap: _Gap | None = None  # the last entry, if that is a gap
        self._most = _MOST_WAITING
        self._put = 0  # bytes put in so far
        # Changed by the writer.
        self._taken = 0  # bytes taken so far
        self._told = 0  # dropped lines that are reported

    def put(self, line: bytes) -> None:
        """Queue a line for the writer, or drop it if the queue is full."""
        waiting = self._put - self._taken
        if waiting > self._most:
            self._most = _FULL_UNTIL
            self.drop()
        else:
            self._most = _MOST_WAITING
            self._gap = None
            self._lines.put(line)
            self._put += len(line) + _LINE_OVERHEAD

    def drop(self) -> None:
        """Count a lost line, and mark the gap."""
        self.dropped += 1
        if self._gap is None or self._gap.reached:
            gap = _Gap()
            self._lines.put(gap)
            self._gap = gap

    def finish(self) -> None:
        """Mark the end; nothing may be put in afterwards."""
        self._lines.put(None)

    def is_empty(self) -> bool:
        """Return whether the queue is empty now."""
        return self._lines.empty()

    def take(self) -> bytes | int | None:
        """Wait for the next entry: a line, the number of lines missing here, or None at the end."""
        line = self._lines.get()
        if type(line) is bytes:
            self._taken += len(line) + _LINE_OVERHEAD
        elif isinstance(line, _Gap):
            # Keep this order: a line dropped after `reached` is set gets a gap of its own.
            line.reached = True
            missing = self.dropped - self._told
            self._told += missing
            return missing
        return line


class LineWriter:
    """A thread that writes the lines of a queue, each in a single write if possible.

    Args:
      queue: the lines to write.
      descriptor: the file descriptor to write to, blocking or not; it stays open.
      notice: returns the line that says how many lines are missing.

    Raises:
      NoThreadError: the system allows no more threads.
    """

    def __init__(self, queue: LineQueue, descriptor: int, notice: Callable[[int], bytes]) -> None:
        self.unwritten = 0
        """How many lines could not be written."""
        self._queue = queue
        self._descriptor = descriptor
        self._notice = notice
        self._untold = 0  # missing lines that are not reported yet
        self._is_torn = False  # whether only part of the last line was written
        self._thread = Thread(target=self._run, name="cipherecho log", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise NoThreadError("the log") from error

    def finish(self) -> None:
        """Wait up to a second until the rest is written; nothing may be put in afterwards."""
        self._queue.finish()
        self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        while (line := self._queue.take()) is not None:
            # After any error, try the next line.
            try:
                if type(line) is int:
                    self._untold += line
                if self._untold:
                    self._write(self._notice(self._untold))
                    self._untold = 0
                if type(line) is bytes:
                    self._write(line)
            except BaseException:
                if type(line) is bytes:
                    self.unwritten += 1
                    self._untold += 1
            if self._queue.is_empty():
                time.sleep(_GATHERING_SECONDS)

    def _write(self, line: bytes) -> None:
        """Write a whole line, however long that takes."""
        # Neither sys.stderr nor a handler of the standard library: each has a lock, which a write
        # that never ends would hold for ever, and the end of the program waits for that lock.
        if self._is_torn:
            line = b"\n" + line
        # One write if possible, so that output of other processes doesn't come in between.
        while line:
            try:
                written = os.write(self._descriptor, line)
            except BlockingIOError:
                time.sleep(_RETRY_SECONDS)
            else:
                line = line[written:]
                self._is_torn = line != b""
