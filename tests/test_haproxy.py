"""The example for HAProxy: valid, and with it instances are rolled while clients talk."""

from __future__ import annotations

import csv
import io
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.loopback import own_network
from tests.rolling import clients, lines_answered_by
from tests.running import COMMAND, PATIENCE, Server, ending, run_program, started, tool

EXAMPLE = Path(__file__).parent.parent / "examples" / "deploy" / "haproxy" / "haproxy.cfg"

INSTANCES = {"one": "10.0.0.11", "two": "10.0.0.12", "three": "10.0.0.13"}

# The checks come ten times as often as in the example, so the delay is a tenth as well.
INTERVAL, DRAIN_DELAY = "100ms", 0.5


def test_the_example_is_valid() -> None:
    ended = run_program(tool("haproxy"), "-c", "-f", EXAMPLE)
    assert ended.status == 0, ended.stderr
    assert "WARNING" not in ended.stderr


class Balancer:
    """HAProxy by the example, with its instances on addresses of our own."""

    def __init__(self, directory: Path, interval: str) -> None:
        network = own_network()
        self.address = f"{network}.1"
        self.addresses = {
            name: f"{network}.{address.rpartition('.')[2]}" for name, address in INSTANCES.items()
        }
        self.admin = directory / "admin.sock"
        self.config = directory / "haproxy.cfg"
        self.config.write_text(self._adapted(interval))

    def _adapted(self, interval: str) -> str:
        changes = {
            "log /dev/log local0": "log stderr format raw local0",
            "    user haproxy\n    group haproxy\n": "",
            "/run/haproxy/admin.sock": str(self.admin),
            "bind :8013": f"bind {self.address}:8013",
            "inter 1s": f"inter {interval}",
            **{f"{INSTANCES[name]}:": f"{self.addresses[name]}:" for name in INSTANCES},
        }
        text = EXAMPLE.read_text()
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        return text

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start it, and end it at the end."""
        with ending(
            subprocess.Popen([tool("haproxy"), "-db", "-f", self.config], stderr=subprocess.DEVNULL)
        ):
            self.wait_until(lambda: self.admin.exists())
            yield

    def connect(self) -> socket.socket:
        """Return a client's connection."""
        return socket.create_connection((self.address, 8013), timeout=PATIENCE)

    def is_up(self, name: str) -> bool:
        """Return whether it sends new clients to an instance."""
        return self._ask("show stat", "status", name).startswith("UP")

    def _ask(self, command: str, column: str, name: str) -> str:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(PATIENCE)
            admin.connect(str(self.admin))
            admin.sendall(f"{command}\n".encode())
            answer = b"".join(iter(lambda: admin.recv(65_536), b"")).decode()
        rows = csv.DictReader(io.StringIO(answer.removeprefix("# ")))
        [value] = [row[column] for row in rows if row["svname"] == name]
        return value

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for what HAProxy does by itself; it can only be asked."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)


class Instances:
    """Servers that are started as the example says, and the logs of those that have ended."""

    def __init__(self, balancer: Balancer, *options: str | Path, scheme: str = "tcp") -> None:
        self._balancer = balancer
        self._options = options
        self._scheme = scheme
        self._running: dict[str, tuple[Server, ExitStack]] = {}
        self.logs: list[str] = []

    def __getitem__(self, name: str) -> Server:
        return self._running[name][0]

    def start(self, name: str) -> None:
        """Start one, and wait until clients are sent to it."""
        address = self._balancer.addresses[name]
        stack = ExitStack()
        server = stack.enter_context(
            started(
                COMMAND,
                f"--listen={self._scheme}://{address}:8013",
                f"--metrics=tcp://{address}:9013",
                "--proxy-from=127.0.0.0/8",
                f"--drain-delay={DRAIN_DELAY}",
                *self._options,
                listeners=2,
            )
        )
        self._running[name] = server, stack
        self._balancer.wait_until(lambda: self._balancer.is_up(name))

    def stop(self, name: str) -> None:
        """End one by SIGTERM."""
        server, stack = self._running.pop(name)
        assert server.stop() == 0
        stack.close()
        self.logs.append(server.stderr)

    def stop_all(self) -> None:
        """End all that run."""
        for name in list(self._running):
            self.stop(name)


@pytest.fixture
def balancer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Balancer]:
    balancer = Balancer(tmp_path, getattr(request, "param", INTERVAL))
    with balancer.running():
        yield balancer


def test_instances_are_restarted_and_no_line_is_lost_or_answered_twice(balancer: Balancer) -> None:
    instances = Instances(balancer)
    for name in INSTANCES:
        instances.start(name)
    begun = time.monotonic()
    with clients(6, balancer.connect) as several:
        for turn in range(20):
            name = list(INSTANCES)[turn % len(INSTANCES)]
            instances.stop(name)
            assert not balancer.is_up(name)  # it was found out while it still served
            instances.start(name)
    seconds = time.monotonic() - begun
    instances.stop_all()
    answered = sum(len(one.answers) for one in several)
    print(
        f"20 restarts in {seconds:.1f} s: {sum(one.connections for one in several)} connections, "
        f"{answered} lines, {sum(one.resent for one in several)} of them sent again"
    )
    # Every restart closes what it serves, so the clients have been there.
    assert sum(one.closed_by_server for one in several) >= 20
    # None was coded twice either, with an answer that got lost on the way.
    assert sum(lines_answered_by(log) for log in instances.logs) == answered
