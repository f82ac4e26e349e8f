"""What works where Python has no more than it has on Windows.

This simulates the standard library alone, on the machine of the tests: it is without what only
POSIX has, and says that it is on Windows.  Trio and Click are imported before that, since they have
other code for each platform, so nothing here tells that a server runs there.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from cipherecho.server import UnixEndpoint, open_listeners
from tests.helpers.running import environment

WITHOUT_POSIX = """
import asyncio, ctypes, logging.handlers, os, select, signal, socket, subprocess, sys
import concurrent.futures.thread, importlib_metadata, multiprocessing, pathlib, tempfile
import click, h11, prometheus_client, trio

for module in "fcntl grp pwd resource termios".split():
    sys.modules[module] = None
for module, names in {
    os: "O_CLOEXEC O_NOCTTY O_NONBLOCK O_PATH fork geteuid getuid mkfifo register_at_fork "
        "sched_getaffinity uname",
    select: "epoll poll EPOLLIN POLLIN",
    signal: "SIGHUP SIGKILL SIGQUIT SIGUSR1 pthread_sigmask SIG_BLOCK SIG_UNBLOCK",
    socket: "AF_UNIX AF_VSOCK MSG_DONTWAIT SO_REUSEPORT",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
os.O_BINARY = 0
sys.platform = "win32"
"""


def without_posix(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_POSIX + code, *arguments],
        input="Hello\n",
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )


def test_every_module_can_be_imported_without_posix() -> None:
    done = without_posix(
        """
import pkgutil, cipherecho
for module in pkgutil.walk_packages(cipherecho.__path__, "cipherecho."):
    if module.name != "cipherecho.__main__":
        __import__(module.name)
        print(module.name)
"""
    )
    assert done.stderr == ""
    assert "cipherecho.connections.express_lane" in done.stdout.split()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], "Usage: cipherecho"),
        (["apply", "--cipher", "rot13"], "Uryyb\n"),
        (["apply", "-"], "Uryyb\n"),
        (["ciphers"], "rot13"),
        (["check", "rot13"], "conforming"),
        (["--check-config"], "configuration ok"),
    ],
)
def test_commands_work_without_posix(arguments: list[str], said: str) -> None:
    done = without_posix("from cipherecho.cli import main; main()", *arguments)
    assert (done.stderr, done.returncode) == ("", 0)
    assert said in done.stdout


async def test_a_unix_socket_is_refused_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(OSError, match="Python has no Unix sockets on Windows"):
        async with open_listeners([UnixEndpoint("/no-such-directory/socket")]):
            pass
