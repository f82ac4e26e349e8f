"""Commands and servers, started as a user starts them."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["Server", "do_without", "run", "serving"]


def do_without(what: str) -> NoReturn:
    """Skip a test that needs what this machine does not have, or fail it if CI is set."""
    if os.environ.get("CI"):
        pytest.fail(f"this machine does not have {what}, and CI is set")
    pytest.skip(f"this machine does not have {what}")


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run ``cipherecho`` to its end."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "cipherecho", *arguments],
        input=stdin,
        capture_output=True,
        timeout=180,  # Python, compiled to WebAssembly, takes 25 s to compile for this machine
        check=False,
    )


class Server:
    """A ``cipherecho`` that serves a cipher, and what it wrote to its log."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def answer(self, lines: bytes) -> bytes:
        """Return all replies to `lines`, from a client that half-closes after them."""
        with self.connect() as client:
            client.sendall(lines)
            client.shutdown(socket.SHUT_WR)
            answer = b""
            while data := client.recv(65536):
                answer += data
            return answer


@contextmanager
def serving(specification: str, log: Path, *options: str) -> Iterator[Server]:
    """Serve on a free port while the block runs."""
    with log.open("wb") as stderr:
        process = subprocess.Popen(  # noqa: S603
            [
                sys.executable,
                "-m",
                "cipherecho",
                "--cipher",
                specification,
                "--listen",
                "0",
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
    assert process.stdout is not None
    with process:
        try:
            announced = process.stdout.readline().decode()
            found = re.search(r"listening tcp://127\.0\.0\.1:(\d+)", announced)
            assert found, announced + log.read_text()
            yield Server(process, int(found[1]), log)
        finally:
            process.terminate()
            process.wait(30)
