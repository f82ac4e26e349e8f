"""Reads files for a process in the sandbox, from a process beside it.

A plugin could keep whatever the server's process can read.  So that process can read neither the
files that a reload needs, nor the others in their directories.  The process here runs no plugin,
and does nothing but read the files that it was started for.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from cipherecho.host.sandbox.companion import Companion, beside
from cipherecho.host.sandbox.confinement import confine_reader
from cipherecho.settings.file_contents import Contents, read_file

__all__ = ["Reader", "main", "reader"]

_ENOUGH = b"\n"

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from cipherecho.host.sandbox.reader import main
main(sys.argv[2:])
"""


class Reader:
    """Reads certain files again; any thread may use it."""

    def __init__(self, files: Sequence[Path], process: Companion) -> None:
        self._files = files
        self._process = process
        self._lock = Lock()

    def read(self, path: Path) -> Contents:
        """Return the contents of one of the files; this takes as long as ``read_file`` may.

        Raises:
          OSError: ``read_file`` failed, `path` is not one of the files, or the process has ended.
        """
        if path not in self._files:
            raise PermissionError(errno.EACCES, "it was not readable at the start")
        with self._lock:
            with suppress(BrokenPipeError):
                self._process.requests.write(b"%d\n" % self._files.index(path))
                self._process.requests.flush()
            header = self._process.answers.readline()
            if not header:
                raise OSError(errno.EPIPE, "the process that reads it for the server has ended")
            answer = json.loads(header)
            if "errno" in answer:
                raise OSError(answer["errno"], answer["strerror"])
            data = self._process.answers.read(answer["size"])
        return Contents(data, answer["lasting"], answer["public"], tuple(answer["stamp"]))


@contextmanager
def reader(files: Iterable[Path]) -> Iterator[Reader]:
    """Run a process that reads `files` during the block.

    Raises:
      OSError: it can't be started.
    """
    absolute = {path: str(path.absolute()) for path in files}
    # -S: it doesn't even look at installed packages.
    words = ["-S", "-c", _PROGRAM, json.dumps(sys.path), *absolute.values()]
    with beside(words) as process:
        try:
            yield Reader(list(absolute), process)
        finally:
            # Closing the pipe may not be enough: a child process of a plugin may hold it open.
            with suppress(OSError):
                process.requests.write(_ENOUGH)
                process.requests.flush()


def main(files: Sequence[str]) -> None:
    """Read the files that are requested, by number, until the requests end."""
    confine_reader()
    requests, answers = os.fdopen(0, "rb", closefd=False), os.fdopen(1, "wb", closefd=False)
    with suppress(BrokenPipeError):
        while (request := requests.readline()) and request != _ENOUGH:
            data = b""
            try:
                contents = read_file(Path(files[int(request)]))
            except OSError as error:
                header: dict[str, object] = {
                    "errno": error.errno,
                    "strerror": error.strerror or str(error),
                }
            else:
                data = contents.data
                header = {
                    "size": len(data),
                    "lasting": contents.lasting,
                    "public": contents.public,
                    "stamp": contents.stamp,
                }
            answers.write(json.dumps(header).encode() + b"\n" + data)
            answers.flush()
