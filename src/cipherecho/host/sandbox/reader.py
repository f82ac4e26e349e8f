"""Reads files for a process in the sandbox, from a process beside it.

What a plugin can read, it can keep.  So the server's process can't read the files that are
read again at a reload, nor what else their directories have.  This one has no plugin in it,
and reads those files and no others; it does nothing else to them.
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
    """Reads some files again; from any thread."""

    def __init__(self, files: Sequence[Path], process: Companion) -> None:
        self._files = files
        self._process = process
        self._lock = Lock()

    def read(self, path: Path) -> Contents:
        """Return what is in one of the files; it takes as long as ``read_file`` may.

        Raises:
          OSError: as from that, or the path is none of the files', or the process is gone.
        """
        if path not in self._files:
            raise PermissionError(errno.EACCES, "it could not be read at the start")
        with self._lock:
            with suppress(BrokenPipeError):
                self._process.requests.write(b"%d\n" % self._files.index(path))
                self._process.requests.flush()
            header = self._process.answers.readline()
            if not header:
                raise OSError(errno.EPIPE, "the process that reads it for this one is gone")
            answer = json.loads(header)
            if "errno" in answer:
                raise OSError(answer["errno"], answer["strerror"])
            data = self._process.answers.read(answer["size"])
        return Contents(data, answer["lasting"], answer["public"], tuple(answer["stamp"]))


@contextmanager
def reader(files: Iterable[Path]) -> Iterator[Reader]:
    """Run a process that reads `files` for as long as the block lasts.

    Raises:
      OSError: it can't be started.
    """
    absolute = {path: str(path.absolute()) for path in files}
    # -S: not even what is installed is looked at.
    words = ["-S", "-c", _PROGRAM, json.dumps(sys.path), *absolute.values()]
    with beside(words) as process:
        try:
            yield Reader(list(absolute), process)
        finally:
            # A child of a plugin may have the pipe too, so that there is no end to be seen.
            with suppress(OSError):
                process.requests.write(_ENOUGH)
                process.requests.flush()


def main(files: Sequence[str]) -> None:
    """Read what is asked for, by number, until nobody asks any more."""
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
