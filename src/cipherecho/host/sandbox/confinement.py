"""The sandbox: what a server need not do any more is taken away from it.

Plugins run in the server's process, and native code can do whatever the process can.  So
once sockets are open, and before the first plugin is imported, the kernel is asked to refuse
the rest, to every thread and its children, and for good.  When ciphers are made, what only
that needed goes too.
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
    # The names alone, to look for threads that are not confined.
    ("/proc/self/task", READ_DIR),
)

# What modules need while they are imported, besides other modules. Nobody keeps a secret
# there.
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
    # A library with an OpenSSL of its own does without its settings, but not if they are there
    # and can't be read.
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

# So long may idle threads take to be restricted together, which takes milliseconds.
_GATHERING_SECONDS = 10.0


@dataclass(frozen=True)
class Loading:
    """What plugins may read while ciphers are made of them."""

    modules: Collection[str] = ()
    """Top-level modules that will be imported. They may come from anywhere; others come from
    where Python looks for them, but not from where it was started."""
    named: Collection[str] = ()
    """What may name a file, as an option of a cipher may. Those that are files can be read;
    directories can't, so that no "/" opens everything."""
    companions: Collection[tuple[str, str]] = ()
    """What does for plugins what they may not do; see :mod:`cipherecho.host.sandbox.companion`."""


async def confine_loading(
    sandbox: Sandbox, loading: Loading, *, available: int | None = None
) -> None:
    """Take away what nobody needs who imports plugins and makes ciphers; log what is missing.

    From then on, no thread of the process, and no child of it, can write, listen, connect,
    execute or signal others.  Modules can be imported, and libraries loaded.  :func:`confine`
    has to follow, and says the rest about both.

    Args:
      sandbox: whether to go on with less than all.
      loading: what is read for it besides.
      available: as for :func:`confine`.

    Raises:
      SandboxError: something is missing that is required; the process may be confined
        in part.
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
    """Take away what can be taken from all threads of the process, and log what is left.

    Modules can be imported from where others were imported before.  Beside those and a few
    files of the process itself, nothing can be opened.  Sockets and files that are open stay so.

    To be called in the main thread, when the program has no other threads but idle ones of
    Trio.  Others, such as a library has started, are not confined where Landlock is older
    than version 8.  It can't be undone, nor be done often.

    Args:
      sandbox: whether to go on with less than all.
      available: the version of Landlock's ABI that there is; the kernel is asked if None.
      again: whether :func:`confine_loading` was called before.  Threads that were started
        since are confined by that, and what is missing was told.

    Raises:
      SandboxError: something is missing that is required; the process may be confined
        in part.
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
            "threads of plugins can still read what ciphers were made of: %(threads)s",
            {"threads": ", ".join(threads)},
        )


@dataclass(frozen=True)
class _Rules:
    """What stays readable, besides files of the process itself."""

    modules: Collection[Path] = ()
    """As `trees`, and with what links in them lead to."""
    trees: Collection[Path] = ()
    """With all that is beneath, if they are directories, and those can be listed."""
    files: Collection[Path] = ()
    """Likewise, but they can't be listed."""
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
    """Take away from this process what it does not need beside the server.

    It has one thread, and imports `module`.  Beneath `writable`, it may make files, but not
    directories.  Where the system has less than all, it goes on.
    """
    _confine_alone(_rules_of_loading([module.partition(".")[0]], (), writable))


def confine_reader() -> None:
    """Take away from this process, which has one thread, all but reading files."""
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

    Returns the version of Landlock, or 0 if nothing was taken away; and with `again`, the
    names of the threads that only the first time reached.

    Raises:
      SandboxError: something is missing that is required.
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
    """Return the directories that can be imported from: `modules`, and what those import."""
    path = [entry for entry in sys.path if entry]
    # The first is where the script is, or where Python was started. It counts only if something
    # comes from there.
    if not sys.flags.safe_path and sys.path[0] not in os.environ.get("PYTHONPATH", "").split(
        os.pathsep
    ):
        path = path[1:] if sys.path[0] else path
    found = [*map(Path, path), *import_directories()]
    for name in modules:
        # To find one at the top imports nothing.
        with suppress(ImportError, ValueError, AttributeError):
            spec = importlib.util.find_spec(name)
            if spec and spec.submodule_search_locations:
                found += map(Path, spec.submodule_search_locations)
            elif spec and spec.origin:
                found.append(Path(spec.origin))
    return _outermost(one for one in found if one.is_absolute() and one.exists())


def _library_directories() -> Iterator[Path]:
    """Yield the directories of shared libraries that this system and this process have besides."""
    for directory in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep):
        if directory:
            yield Path(directory)
    with suppress(OSError):
        for file in Path("/etc/ld.so.conf.d").glob("*.conf"):  # ldconfig(8)
            for line in file.read_text(errors="replace").splitlines():
                if line.startswith("/"):
                    yield Path(line.strip())
    # Where Python's own is, if that is not one of the system's.
    yield Path(sys.base_prefix) / "lib"


def _files_among(texts: Iterable[str]) -> Iterator[Path]:
    """Yield those that are paths of something that is there, and is no directory."""
    for text in texts:
        with suppress(OSError, ValueError):
            if not stat.S_ISDIR(os.stat(text).st_mode):  # noqa: PTH116 (not every text is a Path)
                yield Path(text)


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that are not beneath others of them."""
    every = set(paths)
    return sorted(path for path in every if every.isdisjoint(path.parents))


async def _restrict(rules: _Rules, available: int) -> list[str]:
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
        _allow_all(ruleset, rules)
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
    """Leave `rights` to what is at `path`, if there is anything."""
    if sys.platform != "linux":  # there is no Landlock, so nothing calls this
        return
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
    import trio  # a companion has no such threads, and does without

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
