"""The command in this process: what it says and its exit status, without its start.

A process takes a third of a second to import what it needs.  That it does as a user starts
it is for ``tests.helpers.running``; here are the words.  Only commands that end by themselves run
here, and none that serves.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from unittest.mock import patch

from cipherecho.cli.command_line import run_command_line
from cipherecho.host.signals import Signals
from tests.helpers.running import Ended, environment

__all__ = ["run"]


def run(*arguments: str | Path, stdin: bytes = b"", **variables: str) -> Ended:
    """Run ``cipherecho`` to its end, as ``running.run`` does."""
    ours = environment(**variables)
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):
        given.write(stdin)
        given.seek(0)
        with (
            open(given.fileno(), encoding="utf-8", closefd=False) as sys_stdin,
            open(output.fileno(), "w", encoding="utf-8", closefd=False) as sys_stdout,
            open(errors.fileno(), "w", encoding="utf-8", closefd=False, buffering=1) as sys_stderr,
            patch.multiple(sys, stdin=sys_stdin, stdout=sys_stdout, stderr=sys_stderr),
            patch.object(sys, "argv", ["cipherecho", *map(str, arguments)]),
            patch.dict(os.environ, ours, clear=True),
            _importing_from(ours.get("PYTHONPATH", "")),
        ):
            status = _status()
        return Ended(status, _content(output), _content(errors).decode())


def _status() -> int:
    """Return the exit status of the process that this one stands for."""
    try:
        run_command_line(Signals())
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1


@contextmanager
def _importing_from(path: str) -> Iterator[None]:
    """Look for modules in `path` first, and forget those that came from there."""
    places = [place for place in path.split(os.pathsep) if place]
    importlib.invalidate_caches()
    try:
        with patch.object(sys, "path", [*places, *sys.path]):
            yield
    finally:
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(tuple(places)):
                del sys.modules[name]


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
