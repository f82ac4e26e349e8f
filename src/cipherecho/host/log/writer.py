"""Lines on their way to standard error, written by a thread of its own, so that nobody waits.

What waits there is bounded, and what is lost is counted, and told in its place.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

from cipherecho.errors import CipherechoError

__all__ = ["LineQueue", "LineWriter", "NoThreadError"]

# Lines that wait for a standard error that nobody reads, in bytes: some 14,000 ordinary
# records. Beyond those, lines are lost, since the server must go on.
_MOST_WAITING = 4 * 2**20

# What Python needs for each beside its bytes, so that short ones are bounded too.
_LINE_OVERHEAD = 128

# Once too many wait, lines are lost until this part of them is gone: if the reader is just
# too slow, there is one gap now and then, not one after every line.
_FULL_UNTIL = _MOST_WAITING * 3 // 4

# A writer that woke up for every line would take the interpreter from the server each
# time. So it lets lines gather for so long after those that it wrote.
_GATHERING_SECONDS = 0.01

# After so long it looks again whether a standard error that does not block takes more. It
# is written 6 MB a second by that, if it is a pipe.
_RETRY_SECONDS = 0.01

# How long the end of the program waits for what is left.
_LAST_SECONDS = 1.0


class NoThreadError(CipherechoError, OSError):
    """The system lets the process start no thread more; `purpose` says what it was for."""

    def __init__(self, purpose: str) -> None:
        self.purpose = purpose
        super().__init__(
            f"can't start a thread for {purpose}: the system allows this user or container no "
            "more of them; raise that limit (ulimit -u, TasksMax, --pids-limit), or end other "
            "processes"
        )


class _Gap:
    """Where lines are missing, among those that are not."""

    reached = False


class LineQueue:
    """Lines that wait for the one who writes them.

    Those who put lines in take turns; nobody waits, neither they nor for them.  There is no
    lock: each number is changed by one side alone.
    """

    def __init__(self) -> None:
        self.dropped = 0
        """How many lines were not put in."""
        self._lines: SimpleQueue[bytes | _Gap | None] = SimpleQueue()
        self._gap: _Gap | None = None  # if it is the last that was put in
        self._most = _MOST_WAITING
        self._put = 0  # bytes, in all
        # The writer's.
        self._taken = 0
        self._told = 0  # of those that were dropped

    def put(self, line: bytes) -> None:
        """Have a line written, or drop it if too much waits already."""
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
        """Count a line that can't be put in."""
        self.dropped += 1
        if self._gap is None or self._gap.reached:
            gap = _Gap()
            self._lines.put(gap)
            self._gap = gap

    def finish(self) -> None:
        """Say that nothing will be put in any more."""
        self._lines.put(None)

    def is_empty(self) -> bool:
        """Return whether there is nothing to be taken now."""
        return self._lines.empty()

    def take(self) -> bytes | int | None:
        """Wait for a line; an integer is how many are missing there, and None is the end."""
        line = self._lines.get()
        if type(line) is bytes:
            self._taken += len(line) + _LINE_OVERHEAD
        elif isinstance(line, _Gap):
            # In this order: what is dropped after the second step has a gap of its own.
            line.reached = True
            missing = self.dropped - self._told
            self._told += missing
            return missing
        return line


class LineWriter:
    """A thread that writes the lines of a queue, each whole and in one piece where that can be.

    Args:
      queue: where the lines are.
      descriptor: where they are written; it may block or not.
      notice: returns the line that tells how many are missing.

    Raises:
      NoThreadError: the system allows no thread.
    """

    def __init__(self, queue: LineQueue, descriptor: int, notice: Callable[[int], bytes]) -> None:
        self.unwritten = 0
        """How many lines could not be written."""
        self._queue = queue
        self._descriptor = descriptor
        self._notice = notice
        self._untold = 0  # lines that are missing
        self._is_torn = False  # the last line that was begun
        self._thread = Thread(target=self._run, name="cipherecho log", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise NoThreadError("the log") from error

    def finish(self) -> None:
        """Have the rest written, and wait a little for it; nothing may be put in any more."""
        self._queue.finish()
        self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        while (line := self._queue.take()) is not None:
            # Whatever goes wrong, the next line may be written.
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
        """Write a line to its end, however long that takes."""
        # Not through sys.stderr, nor a handler of the standard library: each has a lock, which
        # a write that never ends would hold for ever, and the end of the program waits for it.
        if self._is_torn:
            line = b"\n" + line
        # One write, if it goes, so that those of other processes don't come in between.
        while line:
            try:
                written = os.write(self._descriptor, line)
            except BlockingIOError:
                time.sleep(_RETRY_SECONDS)
            else:
                line = line[written:]
                self._is_torn = line != b""
