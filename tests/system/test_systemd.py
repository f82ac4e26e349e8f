"""The units for systemd: valid, hardened, and what they start serves.

No systemd runs here: their settings are looked at by its own tools, and what they start is
started by systemd-socket-activate, or with a socket that is handed over in the same way.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.helpers.certificates import Authority
from tests.helpers.rolling import clients
from tests.helpers.running import (
    COMMAND,
    PATIENCE,
    Server,
    both,
    receive_lines,
    run_program,
    started,
    tool,
)

EXAMPLES = Path(__file__).parents[2] / "examples" / "deploy" / "systemd"
UNITS = sorted(path.name for path in EXAMPLES.iterdir() if path.is_file())
DROP_IN = EXAMPLES / "cipherecho@.service.d" / "wasm.conf"
SERVICE = EXAMPLES / "cipherecho@.service"

INSTALLED = "/opt/cipherecho/bin/cipherecho"


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The directory of the units as they are installed here: as instance 1 of each."""
    directory = tmp_path / "units"
    directory.mkdir()
    for name in UNITS:
        text = (EXAMPLES / name).read_text().replace(INSTALLED, str(COMMAND))
        (directory / name.replace("@.", "@1.")).write_text(text)
    return directory


@pytest.mark.parametrize("unit", [name.replace("@.", "@1.") for name in UNITS])
def test_a_unit_is_valid(unit: str, units: Path) -> None:
    ended = run_program(tool("systemd-analyze"), "verify", "--man=no", units / unit)
    assert (ended.status, ended.stderr) == (0, "")


def test_the_drop_in_is_valid(units: Path) -> None:
    directory = units / "cipherecho@1.service.d"
    directory.mkdir()
    shutil.copy(DROP_IN, directory)
    words: list[str | Path] = ["verify", "--man=no", units / "cipherecho@1.service"]
    ended = run_program(tool("systemd-analyze"), *words)
    assert (ended.status, ended.stderr) == (0, "")
    # It was looked at.
    (directory / DROP_IN.name).write_text("[Service]\nMemoryDenyWriteExecute=perhaps\n")
    assert "wasm.conf" in run_program(tool("systemd-analyze"), *words).stderr


@pytest.mark.parametrize("unit", [name for name in UNITS if name.endswith(".service")])
def test_a_service_is_exposed_to_little(unit: str) -> None:
    # From 0, safe, to 100: what systemd calls "safe" ends at 10.
    ended = run_program(
        tool("systemd-analyze"), "security", "--offline=true", "--threshold=10", EXAMPLES / unit
    )
    assert ended.status == 0, ended.stdout.decode()


def settings(name: str, instance: str = "1") -> dict[str, list[str]]:
    """Return what a unit says for an instance, by the names of its settings."""
    text = re.sub(r"\\\n\s*", "", (EXAMPLES / name).read_text()).replace("%i", instance)
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def seconds(text: str) -> float:
    """Return a time of systemd's, which we write in seconds alone."""
    return float(text.removesuffix("s"))


def options_of(service: dict[str, list[str]]) -> dict[str, str]:
    """Return the options that a service starts the server with."""
    _, *words = shlex.split(service["ExecStart"][0].removesuffix(" --sandbox"))
    return dict(zip(words[::2], words[1::2], strict=True))


def test_the_units_agree_with_each_other() -> None:
    service, socket_ = settings("cipherecho@.service"), settings("cipherecho.socket")
    options = options_of(service)
    assert service["Sockets"] == ["cipherecho.socket"]
    assert socket_["Service"] == ["cipherecho@1.service"]
    assert options["--listen"] == f"tls+fd://{socket_['FileDescriptorName'][0]}"
    for option in ("--tls-cert", "--tls-key"):
        credentials = [one.partition(":")[0] for one in service["LoadCredential"]]
        assert options[option].removeprefix("%d/") in credentials
    assert service["Wants"] == ["cipherecho-metrics@1.socket"]
    metrics = options["--metrics"].removeprefix("unix://").partition("?")[0]
    assert metrics.startswith(f"%t/{service['RuntimeDirectory'][0]}/")
    assert settings("cipherecho-metrics@.service")["ExecStart"][0].endswith(f" {metrics}")


def test_a_shutdown_has_the_time_that_it_may_take() -> None:
    service = settings("cipherecho@.service")
    told = run_program(COMMAND, "--help").stdout.decode()
    (grace,) = re.findall(r"--grace SECONDS .*?\[default: ([\d.]+)", told, re.DOTALL)
    assert "--drain-delay" not in options_of(service)
    assert "--grace" not in options_of(service)
    assert seconds(service["TimeoutStopSec"][0]) > float(grace)


class Installation:
    """The service with what systemd would give it: credentials, directories and its socket."""

    def __init__(self, directory: Path) -> None:
        self._credentials, self._runtime = directory / "credentials", directory / "run"
        self._credentials.mkdir()
        authority = Authority.at(directory)
        for name, file in zip(("tls.crt", "tls.key"), authority.write_server(), strict=True):
            shutil.copy(file, self._credentials / name)
        self._trusting = authority.trusting()

    def command(self, number: int) -> list[str]:
        """Return what an instance is started by."""
        service = settings("cipherecho@.service", str(number))
        (self._runtime / service["RuntimeDirectory"][0]).mkdir(parents=True, exist_ok=True)
        line = service["ExecStart"][0]
        for name, value in {
            INSTALLED: COMMAND,
            "%d": self._credentials,
            "%t": self._runtime,
        }.items():
            assert name in line
            line = line.replace(name, str(value))
        return shlex.split(line)

    def activated(
        self, number: int, listener: socket.socket, *before: str
    ) -> AbstractContextManager[Server]:
        """Start an instance that is given `listener` as systemd does it.

        `before` is a program that is given the rest of its command line to start.
        """
        hand_over = 'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=lines exec "$@" 3<&0 </dev/null'
        return started(
            *before,
            *("sh", "-c", hand_over, "sh"),
            *self.command(number),
            listeners=2,
            stdin=listener.fileno(),
        )

    def encrypted(self, plain: socket.socket) -> socket.socket:
        """Return a client's connection by TLS."""
        plain.settimeout(PATIENCE)
        return self._trusting.wrap_socket(plain, server_hostname="localhost")

    def watched(self, path: str) -> str:
        """Return what instance 1 says on its Unix socket to those who watch it."""
        at = self._runtime / "cipherecho" / "1" / "metrics.sock"
        ended = run_program(
            tool("curl"), "--silent", "--fail", "--unix-socket", at, f"http://cipherecho{path}"
        )
        assert ended.status == 0
        return ended.stdout.decode()


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """The socket that systemd would hold open."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        yield listener


def test_what_is_started_for_a_client_serves(installation: Installation, tmp_path: Path) -> None:
    at = tmp_path / "lines.sock"
    (name,) = settings("cipherecho.socket")["FileDescriptorName"]
    activate = (tool("systemd-socket-activate"), f"--listen={at}", f"--fdname={name}")
    with started(*activate, *installation.command(1), listeners=0) as server:
        server.wait_for_record("Listening on")
        with socket.socket(socket.AF_UNIX) as plain:
            plain.connect(str(at))
            with installation.encrypted(plain) as client:
                client.sendall(b"Hello\n")
                assert receive_lines(client, 2) == both(b"Hello\n")
        assert installation.watched("/readyz") == "ready\n"
        assert "\nprocess_open_fds " in installation.watched("/metrics")


def test_instances_on_one_socket_are_restarted_and_no_line_is_lost(
    installation: Installation, listener: socket.socket, thorough: bool
) -> None:
    restarts = (1, 2) * (10 if thorough else 1)

    def connect() -> socket.socket:
        return installation.encrypted(socket.create_connection(listener.getsockname()))

    logs = []
    with ExitStack() as stack:
        instances = {
            number: stack.enter_context(installation.activated(number, listener))
            for number in (1, 2)
        }

        def stop(number: int) -> None:
            assert instances[number].stop() == 0
            logs.append(instances[number].stderr)

        with clients(4, connect) as several:
            for number in restarts:
                stop(number)
                instances[number] = stack.enter_context(installation.activated(number, listener))
        for number in instances:
            stop(number)
    assert sum(one.closed_by_server for one in several) >= len(restarts)
    records = [json.loads(line) for log in logs for line in log.splitlines()]
    coded = sum(record.get("lines", 0) for record in records)
    assert coded == sum(one.lines for one in several)


# What else systemd keeps a service from can't be tried without it. So the system calls of an
# instance are compared with what it may do.


# What Landlock does not take away, or sees nothing of.
WAYS_OUT = {
    "execveat",
    "io_uring_setup",
    "pidfd_getfd",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "setpriority",
}


def allowed_calls() -> set[str]:
    """Return the names of the system calls that the service may make."""
    allowed: set[str] = set()
    for value in settings("cipherecho@.service")["SystemCallFilter"]:
        calls = {call for group in value.lstrip("~").split() for call in _members(group)}
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed


def _members(group: str) -> Iterator[str]:
    if not group.startswith("@"):
        yield group
        return
    told = run_program(tool("systemd-analyze"), "syscall-filter", group).stdout.decode()
    for name in re.findall(r"^ +([@\w-]+)$", told, re.MULTILINE):
        yield from _members(name)


def test_an_instance_does_nothing_that_its_unit_forbids(
    installation: Installation, listener: socket.socket, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    follow = (tool("strace"), "--daemonize", "--follow-forks", f"--output={trace}")
    with installation.activated(1, listener, *follow) as server:
        with installation.encrypted(socket.create_connection(listener.getsockname())) as client:
            client.sendall(b"Hello\n")
            assert receive_lines(client, 2) == both(b"Hello\n")
        assert "\nprocess_open_fds " in installation.watched("/metrics")
        assert server.stop() == 0
        calls = wait_for_end_of(trace, server.process.pid)
    made = set(re.findall(r"^\d+ +(\w+)\(", calls, re.MULTILINE))
    assert {"accept4", "epoll_wait"} <= made  # it is the server's
    assert made <= allowed_calls()
    assert "landlock_restrict_self" in made
    assert not allowed_calls() & WAYS_OUT
    families = set(re.findall(r"\bsocket(?:pair)?\((\w+)", calls))
    assert families == set(settings("cipherecho@.service")["RestrictAddressFamilies"])
    assert "PROT_WRITE|PROT_EXEC" not in calls


def wait_for_end_of(trace: Path, process: int) -> str:
    """Return a trace, once it has the end of `process`; its writer is nobody's child."""
    deadline = time.monotonic() + PATIENCE
    end = re.compile(rf"^{process} +\+\+\+ exited", re.MULTILINE)  # short numbers are padded
    while not end.search(text := trace.read_text()):
        assert time.monotonic() < deadline
        os.sched_yield()
    return text
