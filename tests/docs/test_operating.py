"""The guide for operators is one session in a shell, and this is the session.

Every block of the guide has a rule: console blocks are typed into one shell, and what comes
is what is shown; TOML blocks are files, named in their first line; a script for sh has to be
one, and is not run, since it installs.
"""

from __future__ import annotations

import fnmatch
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.running import COMMAND, PATIENCE, tool

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "operate.md"

_FENCED = re.compile(r"^```(?P<language>.*)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE)
_COMMAND = re.compile(r"^\$ (?P<line>.*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE)

# The guide leaves out the log.
_RECORD = re.compile(r"^\d{4}-\d\d-\d\dT\S+ (?:info|warning) .*\n", re.MULTILINE)

# What the guide has and may be taken here.
PORTS = ("8013", "8443", "9113")


class Shell:
    """A shell that is typed into, and what it has printed so far."""

    def __init__(self, directory: Path) -> None:
        path = f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"
        self._shell = subprocess.Popen(
            [tool("bash"), "--norc"],
            cwd=directory,
            env={"PATH": path, "HOME": str(directory)},
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
        done = "-- done --\n"
        self._shell.stdin.write(f"{line}\necho {done}".encode())
        self._shell.stdin.flush()

        def printed() -> str:
            return _RECORD.sub("", self._printed.replace(done, ""))

        with self._more:
            self._more.wait_for(
                lambda: done in self._printed and agree(shown, printed()), timeout=PATIENCE / 2
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
def shell(directory: Path) -> Iterator[Shell]:
    one = Shell(directory)
    try:
        yield one
    finally:
        one.close()


def agree(shown: str, printed: str) -> bool:
    """Return whether what is shown was printed; ``…`` stands for anything."""
    pattern = re.sub(r"([\[\]?*])", r"[\1]", shown).replace("…", "*")
    return fnmatch.fnmatchcase(printed, pattern)


def free_ports() -> dict[str, str]:
    """Return a port that is free now for each of the guide's."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
        socket.create_server(("127.0.0.1", 0)) as three,
    ):
        return {
            port: str(listener.getsockname()[1])
            for port, listener in zip(PORTS, (one, two, three), strict=True)
        }


def test_the_guide_is_a_session_that_goes_as_it_shows(tmp_path: Path) -> None:
    for needed in ("ncat", "openssl", "curl", "systemd-socket-activate"):
        tool(needed)
    text = GUIDE.read_text(encoding="utf-8")
    for port, free in free_ports().items():
        text = re.sub(rf"\b{port}\b", free, text)
    blocks = list(_FENCED.finditer(text))
    assert text.count("\n```") == 2 * len(blocks)
    with shell(tmp_path) as session:
        for block in blocks:
            match block["language"]:
                case "sh":
                    checked = subprocess.run(["sh", "-n", "-c", block["text"]], check=False)
                    assert checked.returncode == 0
                case "toml":
                    name = block["text"].partition("\n")[0].removeprefix("# ")
                    (tmp_path / name).write_text(block["text"], encoding="utf-8")
                case "console":
                    commands = list(_COMMAND.finditer(block["text"]))
                    assert "".join(one[0] for one in commands) == block["text"]
                    for one in commands:
                        printed = session.type(one["line"], one["output"])
                        assert agree(one["output"], printed), f"$ {one['line']}\n{printed}"
                case other:
                    raise AssertionError(f"there is no rule for {other!r}")
