"""The installed command, started as a user starts it, for the black-box tests.

Nothing of cipherecho is imported here.  Every wait ends, at the latest after
``PATIENCE``, and so does every process.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, NoReturn

import pytest

# The command of the environment that the tests run in, whatever the PATH has.
COMMAND = Path(sys.executable).with_name("cipherecho")

# In seconds: many times what anything here takes on a slow and busy machine.
PATIENCE = 20.0

ROT13 = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    b"NOPQRSTUVWXYZABCDEFGHIJKLMnopqrstuvwxyzabcdefghijklm",
)


def tool(name: str) -> str:
    """Return where a program is; without it, the test is skipped, or fails if CI is set."""
    return shutil.which(name) or do_without(f"the program {name}")


def content(path: str) -> bytes:
    """Return what is in a file of the system; without it, as for a tool."""
    return Path(path).read_bytes() if Path(path).exists() else do_without(f"the file {path}")


def package(name: str) -> None:
    """Go on if a package of Python is installed; without it, as for a tool."""
    if find_spec(name) is None:
        do_without(f"the package {name}")


def do_without(what: str) -> NoReturn:
    """Skip a test that needs what this machine does not have, or fail it if CI is set."""
    reason = f"this machine does not have {what}, which this test needs"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set")
    pytest.skip(reason)


def environment(**variables: str) -> dict[str, str]:
    """Return our environment with `variables`, and with no options of cipherecho but those.

    A shell finds the command under test in it.
    """
    ours = {key: text for key, text in os.environ.items() if not key.startswith("CIPHERECHO_")}
    path = os.pathsep.join([str(COMMAND.parent), ours.get("PATH", os.defpath)])
    return {**ours, "PATH": path, **variables}


@dataclass(frozen=True)
class Ended:
    """What is left of a process."""

    status: int
    stdout: bytes
    stderr: str


def run(*arguments: str | Path, stdin: bytes = b"", **variables: Any) -> Ended:
    """Run ``cipherecho`` to its end; `variables` are added to its environment."""
    return run_program(COMMAND, *arguments, stdin=stdin, **variables)


def run_program(
    program: str | Path,
    *arguments: str | Path,
    stdin: bytes = b"",
    patience: float = PATIENCE,
    **variables: str,
) -> Ended:
    """Run any program to its end, which comes within `patience` seconds."""
    done = subprocess.run(
        [program, *arguments],
        input=stdin,
        capture_output=True,
        timeout=patience,
        env=environment(**variables),
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr.decode())


def run_shell(command: str, *, cwd: Path | None = None) -> Ended:
    """Run a command line in a shell, as though it had been pasted there."""
    done = subprocess.run(
        ["sh", "-c", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        env=environment(),
        cwd=cwd,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr.decode())


class Output:
    """What a process writes to a pipe, read all the time, so that the pipe is never full."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._data = b""
        self._more = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __bytes__(self) -> bytes:
        with self._more:
            return self._data

    def wait_until(self, enough: Callable[[bytes], bool]) -> bytes:
        """Return all that was written, once it is `enough`."""
        with self._more:
            self._more.wait_for(lambda: self._ended or enough(self._data), PATIENCE)
            assert enough(self._data), f"only this was written: {self._data!r}"
            return self._data

    def wait_for(self, size: int) -> bytes:
        """Return all that was written, once it is so many bytes or more."""
        return self.wait_until(lambda data: len(data) >= size)

    def close(self) -> None:
        """Close the pipe, when nobody is left who writes to it."""
        self._reader.join(PATIENCE)
        self._pipe.close()

    def _read(self) -> None:
        while data := os.read(self._pipe.fileno(), 65_536):
            with self._more:
                self._data += data
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()


@contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Kill the process at the end, if it is still there, and close our ends of its pipes."""
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


class Server:
    """A server that runs, and then what is left of it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._number = 0
        self._stdout = Output(process.stdout) if process.stdout else None
        self._stderr = Output(process.stderr) if process.stderr else None

    @property
    def endpoints(self) -> list[str]:
        """Where it listens, as it said."""
        return [line.removeprefix("listening ") for line in self.stdout.splitlines()]

    @property
    def port(self) -> int:
        """The port of the first of them, or of that which `at` was told."""
        return int(self.endpoints[self._number].rpartition(":")[2])

    def at(self, number: int) -> Server:
        """Return the same server, for those who talk to another of its endpoints."""
        other = copy(self)
        other._number = number
        return other

    @property
    def stdout(self) -> str:
        """What it has written to standard output."""
        assert self._stdout is not None
        return bytes(self._stdout).decode()

    @property
    def stderr(self) -> str:
        """What it has written to standard error."""
        assert self._stderr is not None
        return bytes(self._stderr).decode()

    def wait_for_listeners(self, number: int) -> None:
        """Wait until it has said that it listens at so many."""
        assert self._stdout is not None
        self._stdout.wait_until(lambda data: data.count(b"\n") >= number)

    def wait_for_record(self, text: str) -> str:
        """Wait until its log has `text`; return the log."""
        assert self._stderr is not None
        return self._stderr.wait_until(lambda data: text.encode() in data).decode()

    def connect(self) -> socket.socket:
        """Return a connection to it; every call on it has a timeout."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def ask(self, data: bytes) -> bytes:
        """Return all that a client gets that sends `data` and half-closes."""
        with self.connect() as client:
            return ask(client, data)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, wait for its end, and return its status."""
        self.process.send_signal(number)
        return self.wait()

    def stop_at_once(self, number: int = signal.SIGTERM) -> int:
        """Send it another signal, so late that it is another wish, and do as `stop` does."""
        time.sleep(0.15)
        return self.stop(number)

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        """Wait for its end, and return its status."""
        status = self.process.wait(PATIENCE)
        for output in (self._stdout, self._stderr):
            if output is not None:
                output.close()
        return status


def ask(client: socket.socket, data: bytes) -> bytes:
    """Send `data`, half-close, and return all that comes back; `data` fits the buffers."""
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    return receive_all(client)


def receive_all(client: socket.socket) -> bytes:
    """Return all that comes until the server closes."""
    return b"".join(iter(lambda: client.recv(65_536), b""))


def receive_lines(client: socket.socket, number: int) -> bytes:
    """Return what comes until it has so many lines."""
    data = b""
    while data.count(b"\n") < number:
        received = client.recv(65_536)
        assert received, f"only this came: {data!r}"
        data += received
    return data


@contextmanager
def started(
    *command: str | Path,
    listeners: int = 1,
    stdin: int = subprocess.DEVNULL,
    stdout: int | None = subprocess.PIPE,
    stderr: int | None = subprocess.PIPE,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start a command that serves, and wait until it listens.

    If the test has not ended it by then, it is ended by SIGTERM, and has to end well.
    Its standard output and error are read all the time, unless something else is given
    for them; without standard output, nothing is waited for.
    """
    process = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment(**(variables or {})),
    )
    server = Server(process)
    try:
        if stdout == subprocess.PIPE:
            server.wait_for_listeners(listeners)
        yield server
        if process.returncode is None:
            assert server.stop() == 0
        if stderr == subprocess.PIPE:
            assert "Traceback" not in server.stderr
    finally:
        server.kill()


@contextmanager
def serving(*options: str | Path, variables: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Start ``cipherecho`` on a free port of this machine, with further options."""
    with started(COMMAND, "--listen", "127.0.0.1:0", *options, variables=variables) as server:
        yield server


def both(text: bytes, code: Callable[[bytes], bytes] = lambda line: line.translate(ROT13)) -> bytes:
    """Return what `text`, of whole lines, is answered with: every line and its code."""
    lines = [line + b"\n" for line in text.split(b"\n")[:-1]]
    return b"".join(line + code(line) for line in lines)


def complaint(ended: Ended, status: int) -> str:
    """Return what a command that was refused said about it, having checked its form."""
    assert ended.status == status
    assert ended.stdout == b""
    lines = ended.stderr.splitlines()
    assert 1 <= len(lines) <= 2
    assert lines[0].startswith("cipherecho: ")
    return ended.stderr
