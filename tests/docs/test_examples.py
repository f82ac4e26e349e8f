"""The examples run as they are."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str, given: str = "") -> str:
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def test_all_examples_are_tested_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "choose_cipher.py",
        "client.py",
        "embed_server.py",
    }


def test_embed_server() -> None:
    assert run("embed_server.py") == "Hello from next door\nUryyb sebz arkg qbbe\n"


def test_choose_cipher_and_client() -> None:
    command = [sys.executable, str(EXAMPLES / "choose_cipher.py"), "rot13", "rot13"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert "rot13" in server.stdout.readline()
            _, url = server.stdout.readline().split()
            host, port = url.removeprefix("tcp://").split(":")
            assert run("client.py", host, port, given="Hello\nWorld") == (
                "Hello\nHello\nWorld\nWorld\n"
            )
            with socket.create_connection((host, int(port))):
                server.send_signal(signal.SIGINT)
                assert server.wait(30) == 0
        finally:
            server.kill()


def test_choose_cipher_says_what_is_wrong_with_a_choice() -> None:
    command = [sys.executable, str(EXAMPLES / "choose_cipher.py"), "rot31"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("cipher 'rot31' is not installed; did you mean rot13")
