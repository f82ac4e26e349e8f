"""Starts companions, confines them, and connects plugins to them.

:mod:`cipherecho.companion` explains what a companion is for; plugins import that module.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO

from cipherecho.host.sandbox.confinement import confine_companion
from cipherecho.host.sandbox.landlock import Ruleset, version

__all__ = [
    "Companion",
    "beside",
    "cache_directory",
    "companion",
    "companions",
    "give_up_files",
    "main",
]

# How long to wait for the end of a companion.  It ends when its pipe is closed, but a child process
# of a plugin may keep the pipe open.
_LAST_SECONDS = 1.0

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from cipherecho.host.sandbox.companion import main
main(*sys.argv[2:])
"""


@dataclass(frozen=True)
class Companion:
    """A running companion, as its caller sees it."""

    requests: IO[bytes]
    """Write requests here, and flush."""
    answers: IO[bytes]
    """Read answers here; it ends when the process ends."""


_running: dict[tuple[str, str], Companion] = {}


@contextmanager
def companions(functions: Iterable[tuple[str, str]]) -> Iterator[None]:
    """Run companions during the block; each pair holds the arguments of :func:`companion`.

    Raises:
      OSError: one of them can't be started.
    """
    before = dict(_running)
    with ExitStack() as stack:
        try:
            for name, function in functions:
                _running[name, function] = stack.enter_context(_started(name, function))
            yield
        finally:
            _running.clear()
            _running.update(before)


@contextmanager
def companion(name: str, function: str) -> Iterator[Companion]:
    """Yield the companion that runs `function`: a running one, or a new one for the block.

    Args:
      name: its package's name, in lower case with hyphens.
      function: the function's location, as ``module:name``.

    Raises:
      OSError: it can't be started.
    """
    running = _running.get((name, function))
    if running is not None:
        yield running
        return
    with _started(name, function) as started:
        yield started


def _started(name: str, function: str) -> AbstractContextManager[Companion]:
    return beside(["-c", _PROGRAM, json.dumps(sys.path), name, function])


@contextmanager
def beside(words: Sequence[str]) -> Iterator[Companion]:
    """Run Python with these arguments during the block, then close its pipes so that it ends.

    Raises:
      OSError: it can't be started.
    """
    process = subprocess.Popen(  # noqa: S603 (our own interpreter)
        # -I: it ignores Python's environment variables and the current directory.
        [sys.executable, "-I", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # A terminal's signals are for the server; the companion sees the server's end by its pipe.
        start_new_session=True,
    )
    requests, answers = process.stdin, process.stdout
    assert requests is not None
    assert answers is not None
    try:
        yield Companion(requests, answers)
    finally:
        for file in (requests, answers):
            with suppress(OSError):
                file.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LAST_SECONDS)


def cache_directory(name: str) -> Path:
    """Return the cache directory of the companion of that name; it may not exist yet.

    It is in the service's cache directory from systemd (``CacheDirectory=``), or otherwise in the
    user's.
    """
    given = os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given) / name
    of_user = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = of_user if of_user.is_absolute() else Path.home() / ".cache"
    return base / "cipherecho" / name


def give_up_files() -> None:
    """Drop the right to open files, and all others that Landlock can take away, if available."""
    if had := version():
        with suppress(OSError), Ruleset(had) as ruleset:
            ruleset.restrict()


def main(name: str, function: str) -> None:
    """Run as a companion until the server closes the pipe."""
    # Printed text must not get among the answers.
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    directory: Path | None = None
    with suppress(OSError, RuntimeError):  # RuntimeError: the user has no home
        directory = cache_directory(name)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    module, _, attribute = function.partition(":")
    confine_companion(module, directory)
    serve = getattr(import_module(module), attribute)
    serve(requests, answers, directory)
