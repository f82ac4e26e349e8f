"""Files of the operator's, read whole: they may be pipes, and on servers that are down."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic, sleep
from typing import NoReturn, TypeVar

__all__ = ["Contents", "has_changed", "read_file"]

_Result = TypeVar("_Result")

# The certificates of all public roots are some 200 KiB.
_MOST = 16 * 1024 * 1024

# For whoever writes to a pipe it is long, and for whoever waits for the server it is short.
_SECONDS = 10.0

# What comes in time is still handed over.
_GRACE_SECONDS = 1.0

_AT_ONCE = 1024 * 1024
_PAUSE_SECONDS = 0.02

# Not to wait for a writer of a pipe: later, another reader would have to share with this one.
if sys.platform == "win32":
    _FLAGS = os.O_RDONLY | os.O_BINARY
else:
    _FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY


@dataclass(frozen=True)
class Contents:
    """What a file had when it was read."""

    data: bytes
    lasting: bool
    """Whether it can be read again, as a pipe can't."""
    public: bool
    """Whether every user of the machine may read it."""
    stamp: tuple[int, ...]
    """What is different when it was written to, or replaced."""


def read_file(path: Path, seconds: float = _SECONDS, most: int = _MOST) -> Contents:
    """Return what is in a file, a pipe or a device, after `seconds` at the most.

    It may hold `most` bytes.  A pipe that nobody writes to yet is waited for.

    Raises:
      OSError: it can't be read, or not in that time, or it holds more.
    """
    return _in_time(lambda until: _read(path, until, most), seconds)


def has_changed(path: Path, contents: Contents) -> bool:
    """Return whether a file has something else than these contents, as far as can be told.

    Nobody can tell of a pipe.  If the file may not be read any more, as in the sandbox, it has
    changed if it was written to or replaced.

    Raises:
      OSError: that takes too long.
    """

    def look(until: float) -> bool:
        try:
            return _read(path, until, _MOST).data != contents.data
        except OSError:
            return not path.exists() or _stamp(path.stat()) != contents.stamp

    return contents.lasting and _in_time(look, _SECONDS)


def _in_time(work: Callable[[float], _Result], seconds: float) -> _Result:
    """Return what `work` returns, which is told until when it has time."""
    done: SimpleQueue[Callable[[], _Result]] = SimpleQueue()

    def do() -> None:
        try:
            result = work(monotonic() + seconds)
        except TimeoutError:
            done.put(partial(_raise, _late(seconds)))
        except BaseException as error:
            done.put(partial(_raise, error))
        else:
            done.put(lambda: result)

    # Opening a file can take for ever, which nothing can put an end to; so it is left to a
    # thread that the process does not wait for when it ends.
    thread = Thread(target=do, name="file", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the system allows no more threads
        do()
        return done.get()()
    try:
        result = done.get(timeout=seconds + _GRACE_SECONDS)
    except Empty:
        raise _late(seconds) from None
    thread.join()
    return result()


def _read(path: Path, until: float, most: int) -> Contents:
    descriptor = os.open(path, _FLAGS)
    try:
        status = os.fstat(descriptor)
        mode = status.st_mode
        data = b""
        while True:
            more = _receive(descriptor)
            if more == b"" and (data or not stat.S_ISFIFO(mode)):
                break
            data += more or b""
            if len(data) > most:
                raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
            if monotonic() > until:
                raise TimeoutError
            if not more:  # nothing came yet, or nobody writes yet
                sleep(_PAUSE_SECONDS)
        regular = stat.S_ISREG(mode)
        return Contents(data, regular, regular and _is_public(path, mode), _stamp(status))
    finally:
        os.close(descriptor)


def _receive(descriptor: int) -> bytes | None:
    """Return what there is, b"" at the end, None if more may come."""
    try:
        return os.read(descriptor, _AT_ONCE)
    except BlockingIOError:
        return None


def _is_public(path: Path, mode: int) -> bool:
    """Return whether others may read it, and get through all directories to it."""
    ways = path.resolve().parents
    return bool(mode & stat.S_IROTH) and all(way.stat().st_mode & stat.S_IXOTH for way in ways)


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _raise(error: BaseException) -> NoReturn:
    raise error


def _late(seconds: float) -> OSError:
    return OSError(
        errno.ETIMEDOUT,
        f"its end did not come within {seconds:g} seconds, as with a pipe that nobody writes to",
    )
