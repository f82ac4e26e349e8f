"""Signals as whoever sends them sees them: early, twice, while a cipher holds everything up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.certificates import Authority
from tests.helpers.running import (
    COMMAND,
    PATIENCE,
    Output,
    Server,
    ask,
    do_without,
    ending,
    environment,
    receive_lines,
    serving,
    started,
    tool,
)
from tests.helpers.site import Site

LISTEN = ("--listen", "127.0.0.1:0")


# The first moments.

# It is imported in place of the first package that the command line needs.
SLOW_PACKAGE = """
import os, sys, time
os.write(2, b"importing\\n")
while not os.path.exists(os.path.join(os.path.dirname(__file__), "go")):
    time.sleep(0.01)
sys.path.remove(os.path.dirname(__file__))
del sys.modules["click"]
import click
"""


@contextmanager
def importing(
    site: Path, *command: str | Path
) -> Iterator[tuple[subprocess.Popen[bytes], Output, Output]]:
    """Start a command that is in the middle of its imports until `site` has a file ``go``."""
    (site / "click.py").write_text(SLOW_PACKAGE)
    with ending(
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(PYTHONPATH=str(site)),
        )
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        stdout, stderr = Output(process.stdout), Output(process.stderr)
        stderr.wait_until(lambda data: b"importing\n" in data)
        yield process, stdout, stderr


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 128 + signal.SIGINT)],
)
def test_one_that_comes_during_imports_ends_it_without_a_word(
    tmp_path: Path, number: int, status: int
) -> None:
    with importing(tmp_path, "env", "--default-signal=INT", COMMAND) as (process, _, stderr):
        process.send_signal(number)
        assert process.wait(PATIENCE) == status
        assert bytes(stderr) == b"importing\n"


def test_process_1_is_ended_during_imports_too(tmp_path: Path) -> None:
    alone = [tool("unshare"), "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*alone, "true"], capture_output=True, timeout=PATIENCE).returncode:
        do_without("process namespaces for this user")
    with importing(tmp_path, *alone, COMMAND) as (process, _, _):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        os.kill(int(children.read_text()), signal.SIGTERM)
        assert process.wait(PATIENCE) == 128 + signal.SIGTERM


def test_a_reload_that_is_asked_for_during_imports_comes_when_it_serves(tmp_path: Path) -> None:
    with importing(tmp_path, COMMAND, *LISTEN) as (process, stdout, stderr):
        process.send_signal(signal.SIGHUP)
        (tmp_path / "go").touch()
        stdout.wait_until(lambda data: b"listening" in data)
        stderr.wait_until(lambda data: b"reloading" in data)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_signals_that_were_inherited_blocked_arrive() -> None:
    block = "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {1, 2, 15});"
    command = (sys.executable, "-c", f"{block} os.execv(sys.argv[1], sys.argv[1:])", COMMAND)
    with started(*command, *LISTEN) as server:
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_record("reloading")
        assert server.stop() == 0


# Two of them.


def test_two_at_once_are_one_wish() -> None:
    with serving() as server, server.connect() as client:
        client.sendall(b"Hello\n")
        receive_lines(client, 2)
        for number in (signal.SIGINT, signal.SIGTERM):
            server.process.send_signal(number)
        assert server.wait() == 0
    assert "shutting down" in server.stderr


# It says so itself, when nothing else can be seen of it.
HOLDS = """
import os

class Holds:
    "Codes until the end of all days."

    def encrypt(self, body: bytes) -> bytes:
        os.write(2, b"coding\\n")
        while True:
            pass
"""


def test_a_second_one_ends_it_while_a_cipher_holds_up_the_event_loop(tmp_path: Path) -> None:
    Site(tmp_path).install("acme-ciphers", {"holds": "acme:Holds"}, acme=HOLDS)
    variables = {"PYTHONPATH": str(tmp_path)}
    with serving("--cipher", "holds", variables=variables) as server, server.connect() as client:
        client.sendall(b"Hello\n")
        server.wait_for_record("coding")
        server.process.send_signal(signal.SIGTERM)
        assert server.stop_at_once(signal.SIGINT) == 128 + signal.SIGINT
    assert "ended by a second signal, because something blocks" in server.stderr


# A terminal.

# Makes standard input its terminal, and then reads something else if that is asked for.
IN_A_TERMINAL = """
import fcntl, os, signal, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
if sys.argv[1] == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
if sys.argv[2] != "terminal":
    os.dup2(os.open(sys.argv[2], os.O_RDONLY), 0)
os.execv(sys.argv[3], sys.argv[3:])
"""


@contextmanager
def in_a_terminal(*options: str | Path, **how: str) -> Iterator[tuple[Server, Callable[[], None]]]:
    """Start the server as a terminal's; yield it, and what closes the terminal."""
    screen, terminal = os.openpty()
    closed = False

    def close() -> None:
        nonlocal closed
        if not closed:
            os.close(screen)
        closed = True

    words = (how.get("start", "plainly"), how.get("stdin", "terminal"))
    try:
        command = (sys.executable, "-c", IN_A_TERMINAL, *words, COMMAND)
        with started(*command, *options, stdin=terminal) as server:
            os.close(terminal)
            yield server, close
    finally:
        close()


@pytest.mark.parametrize("stdin", ["terminal", os.devnull])
def test_a_terminal_that_is_closed_ends_what_it_started(stdin: str) -> None:
    with in_a_terminal(*LISTEN, stdin=stdin) as (server, close):
        close()
        assert server.wait() == 0
        assert "the terminal was closed" in server.stderr


def test_a_reload_in_a_terminal_is_one_with_certificates(tmp_path: Path) -> None:
    certificate, key = Authority.at(tmp_path).write_server()
    options = ("--listen", "tls://127.0.0.1:0", "--tls-cert", certificate, "--tls-key", key)
    with in_a_terminal(*options) as (server, close):
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_record("certificates reloaded")
        close()
        assert server.wait() == 0


def test_nohup_holds_and_a_reload_is_one() -> None:
    with in_a_terminal(*LISTEN, start="nohup") as (server, close):
        close()
        server.wait_for_record("reloading")
        with server.connect() as client:
            assert ask(client, b"Hello\n") == b"Hello\nUryyb\n"
        assert server.stop() == 0
