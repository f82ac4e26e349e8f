"""The sandbox: what a server that runs need not do any more is taken away from it.

Plugins run in the server's process, and native code can do whatever the process can.  So
once sockets are open and files are read, the kernel is asked to refuse the rest, to every
thread and for good.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path

import trio

from cipherecho.landlock import (
    READ_DIR,
    READ_FILE,
    RIGHTS,
    WRITE_FILE,
    Ruleset,
    version,
)

__all__ = ["Sandbox", "SandboxError", "confine", "import_directories", "left_over", "shortcomings"]

log = logging.getLogger("cipherecho")


class Sandbox(StrEnum):
    """How much of the sandbox there has to be."""

    OFF = "off"
    """Nothing: the process may do what its user may."""
    ON = "on"
    """What the system has of it."""
    REQUIRE = "require"
    """All that a server is promised, or it does not start."""


class SandboxError(OSError):
    """The system can't confine the process as it is required; `missing` has a reason each."""

    def __init__(self, missing: Sequence[str]) -> None:
        self.missing = tuple(missing)
        super().__init__(
            f"can't start in a sandbox: {'; '.join(missing)}. --sandbox=require expects Linux "
            f"{_LINUX} or newer with Landlock turned on, and no threads of plugins; --sandbox "
            "takes away what it can"
        )


# What is required: the first version that has it, and the first Linux that has that.
_REQUIRED = 6
_LINUX = "6.12"

# What no version takes away, and a plugin might want.
_NEVER = (
    "TCP by Fast Open or MPTCP",
    "other kinds of sockets",
    "programs from memory",
    "the names, modes and times of files",
)

# The process itself, as metrics and the limit of connections have it; and the null device,
# for a standard stream that turns out to be closed.
_OWN_FILES = (
    ("/proc/self/fd", READ_DIR),
    ("/proc/self/limits", READ_FILE),
    ("/proc/self/stat", READ_FILE),
    ("/proc/stat", READ_FILE),
    (os.devnull, READ_FILE | WRITE_FILE),
)

# So long may idle threads take to be restricted together, which takes milliseconds.
_GATHERING_SECONDS = 10.0


async def confine(
    sandbox: Sandbox, files: Iterable[Path] = (), *, available: int | None = None
) -> None:
    """Take away what can be taken from all threads of the process, and log what is left.

    Modules can be imported from where others were imported before.  Beside those and a few
    files of the process itself, nothing can be opened.  Sockets and files that are open stay so.

    To be called in the main thread, when the program has no other threads but idle ones of
    Trio.  Others, such as a library has started, are not confined where Landlock is older
    than version 8.  It can't be undone, nor be done often.

    Args:
      sandbox: whether to go on with less than all.
      files: may be read again, and what replaces them: so may all that is beneath the
        directories that have them.
      available: the version of Landlock's ABI that there is; the kernel is asked if None.

    Raises:
      SandboxError: something is missing that is required; the process may be confined
        in part.
    """
    if available is None:
        available = version()
    modules, renewed = import_directories(), _directories_of(files)
    problem, threads = "", []
    if available:
        try:
            threads = await _restrict(modules, renewed, available)
        except OSError as error:
            problem = str(error.strerror)
    missing = shortcomings(available, threads, problem)
    if missing and sandbox is Sandbox.REQUIRE:
        raise SandboxError(missing)
    if available and not problem:
        log.info(
            "in a sandbox: landlock=%(version)d readable=%(readable)s",
            {
                "version": available,
                "readable": os.pathsep.join(map(str, _outermost([*modules, *renewed]))),
            },
        )
        log.info("the sandbox leaves: %(left)s", {"left": ", ".join(left_over(available))})
    for one in missing:
        log.warning("the sandbox is not complete: %(missing)s", {"missing": one})


def shortcomings(available: int, threads: Collection[str] = (), problem: str = "") -> list[str]:
    """Return what is missing of a sandbox, a text for each reason; none if it is all there.

    Args:
      available: the version of Landlock's ABI, 0 if there is none.
      threads: the names of those that are not confined.
      problem: what the system said when it refused it.
    """
    if problem:
        return [f"the system refused it ({problem}), so nothing is taken away"]
    if not available:
        return ["this system has no Landlock, or a filter of system calls forbids it"]
    missing = []
    absent = [right.what for right in RIGHTS if available < right.since <= _REQUIRED]
    if absent:
        missing.append(
            f"this kernel's Landlock has version {available} and leaves {', '.join(absent)}"
        )
    if threads:
        missing.append(f"threads that were there before are not confined: {', '.join(threads)}")
    return missing


def left_over(available: int) -> list[str]:
    """Return what stays possible in a complete sandbox of that version, in words."""
    later = [right.what for right in RIGHTS if right.since > max(available, _REQUIRED)]
    return [*later, *_NEVER]


def import_directories() -> list[Path]:
    """Return the directories that modules come from, without those that happen to be there.

    Python may look for modules in the directory of a script, or where it was started
    (``-m``), and those may have anything.  So of ``sys.path``, directories count that
    something was imported from, and those where packages are installed.  A package that was
    imported from elsewhere, as one that is being developed, has only its own directory.
    """
    path = {Path(entry) for entry in sys.path if entry}
    found = {entry for entry in path if entry.name in ("site-packages", "dist-packages")}
    for name, module in list(sys.modules.items()):
        if name == "__main__" or "." in name:
            continue
        file, places = getattr(module, "__file__", None), getattr(module, "__path__", None)
        if places is not None:
            packages = map(Path, places)
            found.update(one.parent if one.parent in path else one for one in packages)
        elif file is not None:
            found.add(Path(file).parent)
    return _outermost(one for one in found if one.is_absolute() and one.exists())


def _directories_of(files: Iterable[Path]) -> list[Path]:
    """Return where files are, and where they are really: a link may be replaced, or its target."""
    return [parent for file in files for parent in (file.absolute().parent, file.resolve().parent)]


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that are not beneath others of them."""
    every = set(paths)
    return sorted(path for path in every if every.isdisjoint(path.parents))


async def _restrict(modules: Iterable[Path], renewed: Iterable[Path], available: int) -> list[str]:
    """Restrict the threads; return the names of those that could not be.

    Raises:
      OSError: the system refuses, and at least this thread is as it was.
    """
    # The C library loads it when a thread is ended from outside, as those are that still run
    # when Python ends, and aborts the process if it can't (pthread_exit(3)). Not every C
    # library has it.
    with suppress(OSError):
        ctypes.CDLL("libgcc_s.so.1")
    with Ruleset(available) as ruleset:
        for name, rights in _OWN_FILES:
            _allow(ruleset, name, rights)
        for path in modules:
            _allow(ruleset, path, READ_FILE | READ_DIR)
        for path in renewed:
            _allow(ruleset, path, READ_FILE)
        restricted = {threading.get_native_id()}

        def restrict() -> None:
            with suppress(OSError):  # its number is missing then
                ruleset.restrict()
                restricted.add(threading.get_native_id())

        if not ruleset.all_threads:
            await _in_idle_threads(restrict, len(_threads()) - 1)
        # This thread is the last: it can't look for the others afterwards.
        threads = _threads()
        ruleset.restrict()
    if ruleset.all_threads:
        return []
    return [name for number, name in threads.items() if number not in restricted]


def _allow(ruleset: Ruleset, path: Path | str, rights: int) -> None:
    """Leave `rights` to what is at `path`, if there is anything."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        ruleset.allow(descriptor, rights)
    finally:
        # The kernel makes files of /proc anew when it is short of memory, and rules don't
        # hold for the new ones. It keeps those that somebody has open, so these stay open
        # until the process ends.
        if not str(path).startswith("/proc/"):
            os.close(descriptor)


def _threads() -> dict[int, str]:
    """Return the names of all threads of the process, by their numbers for the system."""
    known = {thread.native_id: thread.name for thread in threading.enumerate()}
    try:
        numbers = [int(task.name) for task in Path("/proc/self/task").iterdir()]
    except OSError:
        return {0: "any that there may be, since there is no /proc to tell"}
    return {number: known.get(number, f"number {number}, of a library") for number in numbers}


async def _in_idle_threads(work: Callable[[], None], most: int) -> None:
    """Do `work` in each idle thread that Trio keeps for later; there are `most` or fewer.

    So many are kept at a time that none is left, and new ones started if there are fewer.
    """
    together = threading.Barrier(most) if most else None
    limiter = trio.CapacityLimiter(max(most, 1))

    def take_part() -> None:
        assert together is not None
        with suppress(threading.BrokenBarrierError):
            together.wait(_GATHERING_SECONDS)
            work()

    async with trio.open_nursery() as nursery:
        for _ in range(most):
            nursery.start_soon(partial(trio.to_thread.run_sync, take_part, limiter=limiter))
