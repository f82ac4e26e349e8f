"""The sandbox: drops the rights that a running server no longer needs.

Plugins run in the server's process, and native code can do whatever the process can.  So when the
sockets are open, and before the first plugin is imported, the process gives up all other rights,
for every thread and its children, and for good.  When the ciphers are made, it also gives up the
rights that only making them needed.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import stat
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cipherecho.errors import CipherechoError
from cipherecho.host.sandbox.landlock import (
    MAKE_FILE,
    READ_DIR,
    READ_FILE,
    REMOVE_FILE,
    RIGHTS,
    WRITE_FILE,
    Ruleset,
    version,
)
from cipherecho.host.sandbox.links import linked_from
from cipherecho.settings.process import Sandbox

__all__ = [
    "Loading",
    "SandboxError",
    "confine",
    "confine_companion",
    "confine_loading",
    "import_directories",
    "left_over",
    "shortcomings",
]

log = logging.getLogger("cipherecho")


class SandboxError(CipherechoError, OSError):
    """The sandbox is required, and the system can't provide all of it; `missing` says why."""

    def __init__(self, missing: Sequence[str]) -> None:
        self.missing = tuple(missing)
        super().__init__(
            f"can't start in a sandbox: {'; '.join(missing)}. --sandbox=require expects Linux "
            f"{_LINUX} or newer with Landlock turned on, and no threads of plugins; --sandbox "
            "takes away what it can"
        )


# The first version of Landlock's ABI with all that --sandbox=require needs, and the first Linux
# with that version.
_REQUIRED = 6
_LINUX = "6.12"

# What no version of Landlock takes away, and an attacker might use.
_NEVER = (
    "TCP by Fast Open or MPTCP",
    "other kinds of sockets",
    "programs from memory",
    "the names, modes and times of files",
)

# Facts about the process itself, for metrics and for the limit of connections; and the null
# device, which replaces a closed standard stream.
_OWN_FILES = (
    ("/proc/self/fd", READ_DIR),
    ("/proc/self/limits", READ_FILE),
    ("/proc/self/stat", READ_FILE),
    ("/proc/stat", READ_FILE),
    (os.devnull, READ_FILE | WRITE_FILE),
    # Only the names, to find threads that are not confined.
    ("/proc/self/task", READ_DIR),
)

# Files that modules need while they are imported, besides other modules.  They hold no secrets.
_LOADING_TREES = (
    "/gnu/store",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/share/locale",
    "/usr/share/zoneinfo",
    "/sys/devices/system/cpu",
)
_LOADING_FILES = (
    "/etc/ld.so.cache",
    "/etc/localtime",
    # A library with its own OpenSSL works without these settings, but fails if they exist and
    # can't be read.
    "/etc/pki/tls/openssl.cnf",
    "/etc/ssl/openssl.cnf",
    "/usr/local/ssl/openssl.cnf",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/self/maps",
    "/proc/self/status",
    "/proc/sys/vm/overcommit_memory",
)

# How long idle threads may take to gather before they are restricted; milliseconds are usual.
_GATHERING_SECONDS = 10.0


@dataclass(frozen=True)
class Loading:
    """What plugins may read while their ciphers are made."""

    modules: Collection[str] = ()
    """Top-level modules that will be imported.  These may come from any directory; others must come
    from Python's search path, without the directory where Python was started."""
    named: Collection[str] = ()
    """Texts that may be names of files, such as a cipher's options.  Plugins can read those that
    are files.  Directories are left out, so that a "/" doesn't open everything."""
    companions: Collection[tuple[str, str]] = ()
    """Processes that do for plugins what the sandbox forbids; see
    :mod:`cipherecho.host.sandbox.companion`."""


async def confine_loading(
    sandbox: Sandbox, loading: Loading, *, available: int | None = None
) -> None:
    """Drop all rights but those for importing plugins and making ciphers; log what is missing.

    Afterwards no thread or child of the process can write files, listen, connect, execute programs
    or signal other processes.  Modules can be imported, and libraries loaded.  Call :func:`confine`
    afterwards; its documentation holds for this too.

    Args:
      sandbox: whether the sandbox is required, or may be incomplete.
      loading: what plugins may read besides.
      available: as for :func:`confine`.

    Raises:
      SandboxError: the sandbox is required, and something is missing; the process may be partly
        confined.
    """
    named = list(_files_among(loading.named))
    rules = _rules_of_loading(loading.modules, named)
    available, _ = await _confine(sandbox, rules, available)
    if available:
        log.info(
            "ciphers are made in a sandbox: landlock=%(version)d files=%(files)s",
            {"version": available, "files": os.pathsep.join(map(str, named)) or "-"},
        )


async def confine(sandbox: Sandbox, *, available: int | None = None, again: bool = False) -> None:
    """Drop all rights that a serving process doesn't need, in all threads; log what is left.

    Modules can still be imported from directories that others came from.  Apart from those and a
    few files about the process itself, nothing can be opened.  Open sockets and files stay open.

    Call this in the main thread, while the program's only other threads are Trio's idle ones.
    Before version 8 of Landlock, other threads, such as a library's, are not confined.  This can't
    be undone, and can be done only a few times.

    Args:
      sandbox: whether the sandbox is required, or may be incomplete.
      available: the version of Landlock's ABI to use; the kernel's if None.
      again: whether :func:`confine_loading` was called before.  That has already confined the
        threads started since, and logged what is missing.

    Raises:
      SandboxError: the sandbox is required, and something is missing; the process may be partly
        confined.
    """
    modules = import_directories()
    available, threads = await _confine(sandbox, _Rules(modules), available, again=again)
    if not available:
        return
    log.info(
        "in a sandbox: landlock=%(version)d readable=%(readable)s",
        {
            "version": available,
            "readable": os.pathsep.join(map(str, modules)),
        },
    )
    log.info("the sandbox leaves: %(left)s", {"left": ", ".join(left_over(available))})
    if threads:
        log.info(
            "threads of plugins can still read the files that ciphers were made from: %(threads)s",
            {"threads": ", ".join(threads)},
        )


@dataclass(frozen=True)
class _Rules:
    """What stays accessible, besides files about the process itself."""

    modules: Collection[Path] = ()
    """Like `trees`, and also the targets of links in them."""
    trees: Collection[Path] = ()
    """Files, and directories with everything in them; the directories can be listed."""
    files: Collection[Path] = ()
    """Files, and directories with everything in them; the directories can't be listed."""
    writable: Path | None = None
    """A directory in which files can be made, replaced and removed."""


def _rules_of_loading(
    modules: Iterable[str], files: Iterable[Path], writable: Path | None = None
) -> _Rules:
    return _Rules(
        _importable(modules),
        [*map(Path, _LOADING_TREES), *_library_directories()],
        [*map(Path, _LOADING_FILES), *files],
        writable,
    )


def confine_companion(module: str, writable: Path | None) -> None:
    """Drop the rights of this process, a companion, that it doesn't need.

    It must have only one thread.  It may import `module`, and make files in `writable`, but no
    directories.  If the system can't provide all of the sandbox, this does what is possible.
    """
    _confine_alone(_rules_of_loading([module.partition(".")[0]], (), writable))


def confine_reader() -> None:
    """Drop all rights of this process but reading files; it must have only one thread."""
    _confine_alone(_Rules(trees=[Path("/")]))


def _confine_alone(rules: _Rules) -> None:
    if available := version():
        with suppress(OSError), Ruleset(available) as ruleset:
            _allow_all(ruleset, rules)
            ruleset.restrict()


async def _confine(
    sandbox: Sandbox, rules: _Rules, available: int | None, *, again: bool = False
) -> tuple[int, Sequence[str]]:
    """Restrict the threads, and log what is missing.

    Returns the version of Landlock, or 0 if nothing was restricted; and the names of the threads
    that this call didn't reach.

    Raises:
      SandboxError: the sandbox is required, and something is missing.
    """
    if available is None:
        available = version()
    problem, threads = "", []
    if available:
        try:
            threads = await _restrict(rules, available)
        except OSError as error:
            problem = str(error.strerror)
    if again:
        missing = shortcomings(available, (), problem) if problem else []
    else:
        missing = shortcomings(available, threads, problem)
    if missing and sandbox is Sandbox.REQUIRE:
        raise SandboxError(missing)
    for one in missing:
        log.warning("the sandbox is not complete: %(missing)s", {"missing": one})
    return (0 if problem else available), threads


def shortcomings(available: int, threads: Collection[str] = (), problem: str = "") -> list[str]:
    """Return what the sandbox lacks, one text for each reason; empty if it is complete.

    Args:
      available: the version of Landlock's ABI, 0 if there is none.
      threads: the names of threads that are not confined.
      problem: the system's error if it refused the sandbox.
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
    """Return what is still possible in a complete sandbox of that version, in words."""
    later = [right.what for right in RIGHTS if right.since > max(available, _REQUIRED)]
    return [*later, *_NEVER]


def import_directories() -> list[Path]:
    """Return the directories that modules may be imported from.

    ``sys.path`` may contain a script's directory, or the directory where Python was started
    (``-m``), with any private files.  So a directory in ``sys.path`` counts only if a module was
    imported from it, or if packages are installed in it.  For a package imported from elsewhere,
    such as one in development, only the package's own directory counts.
    """
    path = {Path(entry) for entry in sys.path if entry}
    found = {entry for entry in path if entry.name in ("site-packages", "dist-packages")}
    for name, module in list(sys.modules.items()):
        if module is sys.modules["__main__"] or "." in name:  # multiprocessing names it twice
            continue
        file, places = getattr(module, "__file__", None), getattr(module, "__path__", None)
        if places is not None:
            packages = map(Path, places)
            found.update(one.parent if one.parent in path else one for one in packages)
        elif file is not None:
            found.add(Path(file).parent)
    return _outermost(one for one in found if one.is_absolute() and one.exists())


def _importable(modules: Iterable[str]) -> list[Path]:
    """Return the paths to import `modules` from, and what those modules import."""
    path = [entry for entry in sys.path if entry]
    # The first entry is the script's directory, or the one where Python was started.  It counts
    # only if a module comes from there.
    if not sys.flags.safe_path and sys.path[0] not in os.environ.get("PYTHONPATH", "").split(
        os.pathsep
    ):
        path = path[1:] if sys.path[0] else path
    found = [*map(Path, path), *import_directories()]
    for name in modules:
        # Finding a top-level module imports nothing.
        with suppress(ImportError, ValueError, AttributeError):
            spec = importlib.util.find_spec(name)
            if spec and spec.submodule_search_locations:
                found += map(Path, spec.submodule_search_locations)
            elif spec and spec.origin:
                found.append(Path(spec.origin))
    return _outermost(one for one in found if one.is_absolute() and one.exists())


def _library_directories() -> Iterator[Path]:
    """Yield further directories of shared libraries, of this system and this process."""
    for directory in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep):
        if directory:
            yield Path(directory)
    with suppress(OSError):
        for file in Path("/etc/ld.so.conf.d").glob("*.conf"):  # ldconfig(8)
            for line in file.read_text(errors="replace").splitlines():
                if line.startswith("/"):
                    yield Path(line.strip())
    # Python's own library, in case it isn't in a directory of the system.
    yield Path(sys.base_prefix) / "lib"


def _files_among(texts: Iterable[str]) -> Iterator[Path]:
    """Yield the texts that are paths of existing files; directories are left out."""
    for text in texts:
        with suppress(OSError, ValueError):
            if not stat.S_ISDIR(os.stat(text).st_mode):  # noqa: PTH116 (not every text is a Path)
                yield Path(text)


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that are not inside another of `paths`, sorted."""
    every = set(paths)
    return sorted(path for path in every if every.isdisjoint(path.parents))


async def _restrict(rules: _Rules, available: int) -> list[str]:
    """Restrict all threads; return the names of those that could not be restricted.

    Raises:
      OSError: the system refuses; at least this thread is unchanged.
    """
    # Load this library now.  The C library loads it when a thread is ended from outside, as
    # happens to threads that still run when Python ends, and aborts the process if it can't
    # (pthread_exit(3)).  Not every C library has it.
    with suppress(OSError):
        ctypes.CDLL("libgcc_s.so.1")
    with Ruleset(available) as ruleset:
        _allow_all(ruleset, rules)
        restricted = {threading.get_native_id()}

        def restrict() -> None:
            with suppress(OSError):  # then this thread's number is missing in `restricted`
                ruleset.restrict()
                restricted.add(threading.get_native_id())

        if not ruleset.all_threads:
            await _in_idle_threads(restrict, len(_threads()) - 1)
        # Restrict this thread last: afterwards it can't look for the others.
        threads = _threads()
        ruleset.restrict()
    if ruleset.all_threads:
        return []
    return [name for number, name in threads.items() if number not in restricted]


def _allow_all(ruleset: Ruleset, rules: _Rules) -> None:
    for name, rights in _OWN_FILES:
        _allow(ruleset, name, rights)
    linked = (path for directory in rules.modules for path in linked_from(directory))
    for path in (*rules.modules, *linked, *rules.trees):
        _allow(ruleset, path, READ_FILE | READ_DIR)
    for path in rules.files:
        _allow(ruleset, path, READ_FILE)
    if rules.writable is not None:
        _allow(ruleset, rules.writable, READ_FILE | READ_DIR | WRITE_FILE | MAKE_FILE | REMOVE_FILE)


def _allow(ruleset: Ruleset, path: Path | str, rights: int) -> None:
    """Keep `rights` for the file or directory at `path`, if it exists."""
    if sys.platform != "linux":  # there is no Landlock, so nothing calls this
        return
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        ruleset.allow(descriptor, rights)
    finally:
        # When memory is short, the kernel recreates files in /proc, and rules don't hold for the
        # new ones.  It keeps open files, so leave these open until the process ends.
        if not str(path).startswith("/proc/"):
            os.close(descriptor)


def _threads() -> dict[int, str]:
    """Return the names of all threads of the process, by their native ids."""
    known = {thread.native_id: thread.name for thread in threading.enumerate()}
    try:
        numbers = [int(task.name) for task in Path("/proc/self/task").iterdir()]
    except OSError:
        return {0: "unknown, since there is no /proc to list them"}
    return {number: known.get(number, f"number {number}, of a library") for number in numbers}


async def _in_idle_threads(work: Callable[[], None], most: int) -> None:
    """Do `work` in every idle thread that Trio keeps; there are at most `most`.

    It occupies `most` threads at the same time, so that no idle one is left out; Trio starts new
    ones if it has fewer.
    """
    import trio  # here, since a companion has no such threads and doesn't import Trio

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
