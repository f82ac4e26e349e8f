"""A page's commands, pasted as they are into terminals, in a checkout that nobody has touched.

Nothing comes from the network: what else a checkout needs is lent by the environment that
the tests run in.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers.running import PATIENCE, Server, ending

ROOT = Path(__file__).parents[2]

PLUGINS = [path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml")]
# What builds packages, editable ones too, and tests a new one.
BUILDERS = ["hatchling", "editables", "pytest"]

# Installing may have much to compile on a busy machine.
LONG = 10 * PATIENCE

# What a server listens at if nothing else is said; here it takes a port that is free.
_PORT = "8013"

_FENCED = re.compile(
    r"^(?:<!-- (?P<mark>.*) -->\n)?```(?P<language>.*)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE
)
_COMMAND = re.compile(r"^\$ (?P<line>(?:.*[\\|]\n)*.*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """What stands between two fences: where, after which mark, and in which language."""

    where: str
    mark: str | None
    language: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    """Return all fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    blocks = [
        Block(
            f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, one.start('text'))}",
            one["mark"],
            one["language"],
            one["text"],
        )
        for one in _FENCED.finditer(text)
    ]
    assert text.count("\n```") == 2 * len(blocks), f"{page}: a fence is left open"
    return blocks


@dataclass
class Checkout:
    """A copy of this checkout, and the terminals that are opened in it."""

    directory: Path
    variables: Mapping[str, str]
    port: str
    _typed_before: list[str] = field(default_factory=list)
    _server: Server | None = None

    def paste(self, text: str, where: str = "") -> None:
        """Paste commands, as in a console block; each command has to print what it shows.

        A line of ``…`` stands for any lines.  A command that shows where it listens goes on in
        a terminal of its own, until the next one.
        """
        commands = list(_COMMAND.finditer(text))
        assert "".join(one[0] for one in commands) == text, f"{where}: not only commands"
        for line, shown in (one.groups() for one in commands):
            if shown.startswith("listening "):
                self.serve(line, shown)
            elif re.match(r"\. |\w+=", line):  # lasts as long as the terminal
                assert shown == ""
                self._typed_before.append(line)
            else:
                status, printed = self._run(line)
                assert agree(self._here(shown), printed), f"{where}: $ {line}\n{printed}"
                assert status == 0 or shown, f"{where}: $ {line}\nexit status {status}"

    def serve(self, line: str, shown: str) -> None:
        """Paste a command that serves, in place of the one before it."""
        self.interrupt()
        process = subprocess.Popen(
            self._command(f"exec {line}"),
            cwd=self.directory,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._server = Server(process)
        self._server.wait_for_listeners(shown.count("\n"))
        assert self._server.stdout == self._here(shown)

    def interrupt(self) -> None:
        """Press Ctrl-C where the server runs; it ends well."""
        server, self._server = self._server, None
        if server is not None:
            with ending(server.process):
                assert server.stop(signal.SIGINT) == 0, server.stderr

    def lend_packages(self, environment: str = ".venv") -> None:
        """Have in an environment what the checkout and its builds need, as it is installed here."""
        [packages] = self.directory.glob(f"{environment}/lib/python*/site-packages")
        for name in _needed("cipherecho", *PLUGINS, *BUILDERS):
            for file in distribution(name).files or ():
                if ".." not in file.parts:
                    copy = packages / file
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(file.locate(), copy)

    def _run(self, line: str) -> tuple[int, str]:
        done = subprocess.run(
            self._command(line),
            cwd=self.directory,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LONG,
            check=False,
        )
        return done.returncode, done.stdout.decode()

    def _command(self, line: str) -> list[str]:
        return ["bash", "-c", "\n".join([*self._typed_before, self._here(line)])]

    def _here(self, text: str) -> str:
        return text.replace(_PORT, self.port)


def copied(directory: Path) -> Path:
    """Return a copy of this checkout in a directory, without what is not part of it."""
    ignored = shutil.ignore_patterns(".*", "__pycache__", "dist", "build")
    return Path(shutil.copytree(ROOT, directory / "cipherecho", ignore=ignored))


@contextmanager
def checkout(directory: Path) -> Iterator[Checkout]:
    """Copy this checkout, for a reader who has just got it."""
    copy = copied(directory)
    programs = directory / "programs"
    programs.mkdir()
    # Not that of the environment: it is in none yet.
    python = programs / "python3"
    python.write_text(f'#!/bin/sh\nexec "{Path(sys.executable).resolve()}" "$@"\n')
    python.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    ours = Path(sys.executable).parent
    path = [part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != ours]
    one = Checkout(
        copy,
        {
            "PATH": os.pathsep.join([str(programs), *path]),
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "CIPHERECHO_LISTEN": f"127.0.0.1:{port}",
            # No index and no environment for building, as all is there that those would bring.
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INDEX": "1",
            "PIP_NO_COMPILE": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
        },
        port,
    )
    try:
        yield one
    finally:
        one.interrupt()


def _needed(*names: str) -> set[str]:
    """Return all packages that these need, without our own."""
    needed, new = set[str](), set(names)
    while new:
        needed |= new
        requirements = [
            Requirement(one) for name in new for one in distribution(name).requires or ()
        ]
        new = {
            str(canonicalize_name(one.name))
            for one in requirements
            if one.marker is None or one.marker.evaluate({"extra": ""})
        } - needed
    return {name for name in needed if not name.startswith("cipherecho")}


def agree(shown: str, printed: str) -> bool:
    """Return whether this was printed; a line of ``…`` stands for any lines."""
    if "…" not in map(str.strip, shown.splitlines()):
        return shown == printed
    pattern = "".join(
        "(?:.*\n)*" if line.strip() == "…" else re.escape(line + "\n")
        for line in shown.splitlines()
    )
    return re.fullmatch(pattern, printed) is not None
