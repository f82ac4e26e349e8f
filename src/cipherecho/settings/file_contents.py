"""Reads an operator's files whole, within a time: a file may be a pipe, or on a dead server."""

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

# All public root certificates are about 200 KiB.
_MOST = 16 * 1024 * 1024

# Long enough for a writer to a pipe, and short enough for an operator who waits for the server.
_SECONDS = 10.0

# For a result that comes in time to be handed over.
_GRACE_SECONDS = 1.0

_AT_ONCE = 1024 * 1024
_PAUSE_SECONDS = 0.02

# Doesn't wait for a writer to a pipe: a thread that waits would later take a share of the data from
# the next reader.
if sys.platform == "win32":
    _FLAGS = os.O_RDONLY | os.O_BINARY
else:
    _FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY


@dataclass(frozen=True)
class Contents:
    """The contents of a file when it was read."""

    data: bytes
    lasting: bool
    """Whether the file can be read again, unlike a pipe."""
    public: bool
    """Whether every user of the machine may read the file."""
    stamp: tuple[int, ...]
    """Changes when the file is written or replaced."""


def read_file(path: Path, seconds: float = _SECONDS, most: int = _MOST) -> Contents:
    """Return the contents of a file, a pipe or a device, within `seconds`.

    At most `most` bytes are read.  If nobody writes to a pipe yet, this waits for a writer.

    Raises:
      OSError: it can't be read, or not in time, or has more than `most` bytes.
    """
    return _in_time(lambda until: _read(path, until, most), seconds)


def has_changed(path: Path, contents: Contents) -> bool:
    """Return whether the contents of a file have changed; False for a pipe.

    If the file can't be read any more, as in the sandbox, this returns whether it was written or
    replaced.

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
    """Return the result of `work`, which gets its deadline as an argument."""
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

    # Opening a file can block for ever, and can't be cancelled. So a thread does it, which the
    # process doesn't wait for at its end.
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
    """Return what there is: b"" at the end, None if more may come."""
    try:
        return os.read(descriptor, _AT_ONCE)
    except BlockingIOError:
        return None


def _is_public(path: Path, mode: int) -> bool:
    """Return whether others may read it and search all directories above it."""
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
