"""Starts companions, confines them, and lets plugins talk to them.

:mod:`cipherecho.companion` says what a companion is for, and is what plugins import.
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

# One that is no longer needed ends as soon as it sees that. It does not where a child that a
# plugin has made keeps the pipe open.
_LAST_SECONDS = 1.0

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from cipherecho.host.sandbox.companion import main
main(*sys.argv[2:])
"""


@dataclass(frozen=True)
class Companion:
    """A companion that runs, as whoever asks it sees it."""

    requests: IO[bytes]
    """To be written to; flush it."""
    answers: IO[bytes]
    """To be read; it ends when the process does."""


_running: dict[tuple[str, str], Companion] = {}


@contextmanager
def companions(functions: Iterable[tuple[str, str]]) -> Iterator[None]:
    """Run companions for as long as the block lasts; each is given as to :func:`companion`.

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
    """Yield the companion that runs `function`: one that is there, or one for the block.

    Args:
      name: the package that it is of, in small letters and hyphens.
      function: where the function is, ``module:name``.

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
    """Run Python with these options for as long as the block lasts; then it has to end.

    Raises:
      OSError: it can't be started.
    """
    process = subprocess.Popen(  # noqa: S603 (our own interpreter)
        # -I: it has nothing of the environment, nor of where it was started.
        [sys.executable, "-I", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Signals of a terminal are for the server, whose end it sees.
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
    """Return where the companion of that name may keep what it has made; it may not be there.

    It is beneath the directory that systemd gives a service for it (``CacheDirectory=``), or
    that of the user.
    """
    given = os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given) / name
    of_user = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = of_user if of_user.is_absolute() else Path.home() / ".cache"
    return base / "cipherecho" / name


def give_up_files() -> None:
    """Open no file from now on, nor do what else the sandbox takes away, if there is one."""
    if had := version():
        with suppress(OSError), Ruleset(had) as ruleset:
            ruleset.restrict()


def main(name: str, function: str) -> None:
    """Be a companion, until the server has no more requests."""
    # What is printed must not get among the answers.
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
