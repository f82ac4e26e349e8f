"""Landlock: lets a thread on Linux give up rights for good (landlock(7)).

The numbers come from ``linux/landlock.h``, and are the same on all processors.  This module doesn't
know what a server needs.  On other systems there is no Landlock, and :func:`version` returns 0.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from typing import Final, NamedTuple

__all__ = [
    "MAKE_FILE",
    "READ_DIR",
    "READ_FILE",
    "REMOVE_FILE",
    "RIGHTS",
    "WRITE_FILE",
    "Right",
    "Ruleset",
    "version",
]

WRITE_FILE: Final = 1 << 1
"""The right to open files for writing."""
READ_FILE: Final = 1 << 2
"""The right to open files for reading."""
READ_DIR: Final = 1 << 3
"""The right to list directories."""
REMOVE_FILE: Final = 1 << 5
"""The right to remove or replace files in directories."""
MAKE_FILE: Final = 1 << 8
"""The right to make regular files in directories."""

_OF_DIRECTORIES: Final = READ_DIR | REMOVE_FILE | MAKE_FILE


class Right(NamedTuple):
    """A right that Landlock can take away, from version `since` of its ABI on, and its bits."""

    since: int
    what: str
    """The right in words, to follow "is no longer possible:"."""
    files: int = 0
    ports: int = 0
    scopes: int = 0


# Moving files between directories (REFER) is not here: every version takes it away, even unasked.
RIGHTS: Final = (
    Right(1, "opening, making and removing files, and executing", files=(1 << 13) - 1),
    Right(3, "truncating files", files=1 << 14),
    Right(4, "binding and connecting by TCP", ports=0b11),
    Right(5, "commands to devices (ioctl)", files=1 << 15),
    Right(6, "abstract Unix sockets, and signals to other processes", scopes=0b11),
    Right(9, "connecting to Unix sockets with a path", files=1 << 16),
    Right(10, "UDP", ports=0b1100),
)
"""All rights, in the order of versions."""

# Restricts all threads of the process at once.
_ALL_THREADS_SINCE: Final = 8
_ALL_THREADS: Final = 1 << 3

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION: Final = 1 << 0
_PATH_BENEATH: Final = 1
_NO_NEW_PRIVILEGES: Final = 38  # prctl(2)


def version() -> int:
    """Return the version of the kernel's Landlock ABI, 0 without Landlock.

    It is also 0 if Landlock is not among the enabled security modules (``lsm=``), or if a
    container's system call filter blocks it.
    """
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


class Ruleset:
    """Takes away all `RIGHTS` of a version, except those allowed for certain paths.

    Use it as a context manager, which closes it; threads stay restricted.

    Args:
      version: the kernel's version or an older one, at least 1.

    Raises:
      OSError: the kernel refuses.
    """

    def __init__(self, version: int) -> None:
        had = [right for right in RIGHTS if right.since <= version]
        self._files = sum(right.files for right in had)
        attributes = struct.pack(
            "=QQQ", self._files, sum(one.ports for one in had), sum(one.scopes for one in had)
        )
        # An older kernel accepts the longer structure if the unknown fields are 0.
        self._descriptor = _call(_CREATE_RULESET, attributes, len(attributes), 0)
        self.all_threads = version >= _ALL_THREADS_SINCE
        """Whether :meth:`restrict` restricts all threads of the process."""

    def __enter__(self) -> Ruleset:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def allow(self, descriptor: int, rights: int) -> None:
        """Keep `rights` for a file, or for a directory and everything in it.

        `descriptor` refers to it; ``O_PATH`` is enough.  Rights that the version doesn't know are
        ignored, and so are rights of directories for a file.

        Raises:
          OSError: the kernel refuses.
        """
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= ~_OF_DIRECTORIES
        rule = struct.pack("=Qi", rights & self._files, descriptor)
        _call(_ADD_RULE, self._descriptor, _PATH_BENEATH, rule, 0)

    def restrict(self) -> None:
        """Take away all other rights from this thread, later threads and programs that they run.

        This also rules out new privileges: a set-user-ID program runs without them.  Existing
        threads are restricted only if :attr:`all_threads` is set.

        Raises:
          OSError: the kernel refuses, for example after too many rulesets.
        """
        if _libc().prctl(*map(ctypes.c_ulong, (_NO_NEW_PRIVILEGES, 1, 0, 0, 0))) != 0:
            raise _last_error()
        _call(_RESTRICT_SELF, self._descriptor, _ALL_THREADS if self.all_threads else 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call that has no function in the C library."""
    call = _libc().syscall
    call.restype = ctypes.c_long
    result: int = call(
        ctypes.c_long(number),
        *(
            ctypes.c_long(one) if isinstance(one, int) else ctypes.c_char_p(one)
            for one in arguments
        ),
    )
    if result < 0:
        raise _last_error()
    return result


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
