"""Landlock: how a thread on Linux gives rights up for good (landlock(7)).

The numbers are those of ``linux/landlock.h``, and the same on all processors.  Nothing is
known here of what a server needs.  Other systems have no Landlock, and so :func:`version`
is 0 there.
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
"""To open files for writing."""
READ_FILE: Final = 1 << 2
"""To open files for reading."""
READ_DIR: Final = 1 << 3
"""To list directories; files have no such right."""
REMOVE_FILE: Final = 1 << 5
"""To remove files from directories, or to replace them there."""
MAKE_FILE: Final = 1 << 8
"""To make regular files in directories."""

_OF_DIRECTORIES: Final = READ_DIR | REMOVE_FILE | MAKE_FILE


class Right(NamedTuple):
    """What Landlock takes away from its version `since` on, with the bits that stand for it."""

    since: int
    what: str
    """In words that go on "is no longer possible:"."""
    files: int = 0
    ports: int = 0
    scopes: int = 0


# Moving files between directories (REFER) is not here: it is taken away by every version,
# whatever it is asked for.
RIGHTS: Final = (
    Right(1, "opening, making and removing files, and executing", files=(1 << 13) - 1),
    Right(3, "truncating files", files=1 << 14),
    Right(4, "binding and connecting by TCP", ports=0b11),
    Right(5, "commands to devices (ioctl)", files=1 << 15),
    Right(6, "abstract Unix sockets, and signals to other processes", scopes=0b11),
    Right(9, "connecting to Unix sockets with a path", files=1 << 16),
    Right(10, "UDP", ports=0b1100),
)
"""In the order of versions."""

# All threads of the process at once.
_ALL_THREADS_SINCE: Final = 8
_ALL_THREADS: Final = 1 << 3

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION: Final = 1 << 0
_PATH_BENEATH: Final = 1
_NO_NEW_PRIVILEGES: Final = 38  # prctl(2)


def version() -> int:
    """Return the version of Landlock's ABI that this kernel has, 0 if it has none.

    It has none too where Landlock was left out of what is started with the kernel
    (``lsm=``), or where a container's system call filter does not know it.
    """
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


class Ruleset:
    """Takes all of RIGHTS that a version has, except for what is allowed by path.

    Use it as a context manager, which closes it; threads stay restricted.

    Args:
      version: one that the kernel has, or an older one, from 1.

    Raises:
      OSError: the kernel refuses.
    """

    def __init__(self, version: int) -> None:
        had = [right for right in RIGHTS if right.since <= version]
        self._files = sum(right.files for right in had)
        attributes = struct.pack(
            "=QQQ", self._files, sum(one.ports for one in had), sum(one.scopes for one in had)
        )
        # An older kernel takes the longer structure if what it does not know is 0.
        self._descriptor = _call(_CREATE_RULESET, attributes, len(attributes), 0)
        self.all_threads = version >= _ALL_THREADS_SINCE
        """Whether one thread restricts them all."""

    def __enter__(self) -> Ruleset:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def allow(self, descriptor: int, rights: int) -> None:
        """Leave `rights` to a file, or to a directory and all that is beneath it.

        `descriptor` has it open; ``O_PATH`` is enough.  Of `rights`, what the version does not
        know, or files do not have, is passed over.

        Raises:
          OSError: the kernel refuses.
        """
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= ~_OF_DIRECTORIES
        rule = struct.pack("=Qi", rights & self._files, descriptor)
        _call(_ADD_RULE, self._descriptor, _PATH_BENEATH, rule, 0)

    def restrict(self) -> None:
        """Take the rest away from this thread, those that it starts, and their programs.

        So are new privileges: a set-user-ID program runs without them.  Threads that are
        there already are restricted too if :attr:`all_threads`, and not otherwise.

        Raises:
          OSError: the kernel refuses, as it does when there were many rulesets before.
        """
        if _libc().prctl(*map(ctypes.c_ulong, (_NO_NEW_PRIVILEGES, 1, 0, 0, 0))) != 0:
            raise _last_error()
        _call(_RESTRICT_SELF, self._descriptor, _ALL_THREADS if self.all_threads else 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call for which the C library has no function."""
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
