"""A shell that a test types into, as a reader of the documentation does."""

from __future__ import annotations

import fnmatch
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.helpers.running import COMMAND, PATIENCE, tool

# Pages leave out the log.
_RECORD = re.compile(r"^\d{4}-\d\d-\d\dT\S+ (?:info|warning) .*\n", re.MULTILINE)

_DONE = "-- done --\n"


class Shell:
    """A shell that is typed into, and what it has printed so far."""

    def __init__(self, directory: Path, variables: Mapping[str, str]) -> None:
        path = f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"
        self._shell = subprocess.Popen(
            [tool("bash"), "--norc"],
            cwd=directory,
            env={"PATH": path, "HOME": str(directory), "LC_ALL": "C.UTF-8", **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._printed = ""
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._shell.stdout is not None
        while data := os.read(self._shell.stdout.fileno(), 65_536):
            with self._more:
                self._printed += data.decode()
                self._more.notify_all()

    def type(self, line: str, shown: str) -> str:
        """Type a command; return what it printed, once that is what is shown and it is done.

        Or what it has printed after a while, if it is not.
        """
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{line}\necho {_DONE}".encode())
        self._shell.stdin.flush()

        def printed() -> str:
            return _RECORD.sub("", self._printed.replace(_DONE, ""))

        with self._more:
            self._more.wait_for(
                lambda: _DONE in self._printed and agree(shown, printed()), timeout=PATIENCE / 2
            )
            output, self._printed = printed(), ""
        return output

    def close(self) -> None:
        """End the shell, and what it has started."""
        assert self._shell.stdin is not None
        self._shell.stdin.write(b"kill -9 $(jobs -p)\n" if self._shell.poll() is None else b"")
        self._shell.stdin.close()
        self._shell.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self._shell.stdout is not None
        self._shell.stdout.close()


@contextmanager
def shell(directory: Path, variables: Mapping[str, str]) -> Iterator[Shell]:
    """Open a shell in `directory`, with these variables and few others."""
    one = Shell(directory, variables)
    try:
        yield one
    finally:
        one.close()


def agree(shown: str, printed: str) -> bool:
    """Return whether what is shown was printed; ``…`` stands for anything.

    Where columns are and where lines are cut makes no difference: both depend on what else is
    installed.
    """
    pattern = re.sub(r"([\[\]?*])", r"[\1]", _without_columns(shown)).replace("…", "*")
    return fnmatch.fnmatchcase(_without_columns(printed), pattern)


def _without_columns(text: str) -> str:
    text = re.sub(r"(?<=\S)  +(?=\S)", " ", text)
    return re.sub(r"^(.{40}).*…$", r"\1…", text, flags=re.MULTILINE)


def free_ports(number: int) -> list[str]:
    """Return so many ports that are free now."""
    with ExitStack() as stack:
        listeners = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)
        ]
        return [str(listener.getsockname()[1]) for listener in listeners]
