"""The example for HAProxy: valid, and with it instances are rolled while clients talk."""

from __future__ import annotations

import csv
import io
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from pathlib import Path

from tests.helpers.certificates import Authority
from tests.helpers.loopback import own_network
from tests.helpers.rolling import clients, lines_answered_by
from tests.helpers.running import (
    COMMAND,
    PATIENCE,
    Server,
    ask,
    both,
    ending,
    receive_lines,
    run_program,
    started,
    tool,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "deploy" / "haproxy" / "haproxy.cfg"

INSTANCES = {"one": "10.0.0.11", "two": "10.0.0.12", "three": "10.0.0.13"}

# The checks come ten times as often as in the example, so the delay is a tenth as well.
DRAIN_DELAY = 0.5

# Each instance once, or more often if there is time for what is rare.
RESTARTS, MANY_RESTARTS = 3, 20


def test_the_example_is_valid() -> None:
    ended = run_program(tool("haproxy"), "-c", "-f", EXAMPLE)
    assert ended.status == 0, ended.stderr
    assert "WARNING" not in ended.stderr


class Balancer:
    """HAProxy by the example, with its instances on addresses of our own."""

    def __init__(self, directory: Path, interval: str = "100ms") -> None:
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
            "maxconn 4000": "maxconn 200",
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
            self._wait_until(self._listens)
            yield

    def _listens(self) -> bool:
        """Return whether it can be asked; the socket is there a moment before."""
        with socket.socket(socket.AF_UNIX) as admin:
            return admin.connect_ex(str(self.admin)) == 0

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

    def wait_until_checked(self, name: str) -> None:
        """Wait until it has looked at an instance, and found it up; before, it takes it for up."""
        self._wait_until(lambda: self._ask("show stat", "check_status", name) == "L7OK")

    def wait_until_up(self, name: str) -> None:
        """Wait until it sends new clients to an instance."""
        self._wait_until(lambda: self.is_up(name))

    def _wait_until(self, condition: Callable[[], bool]) -> None:
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
        self._running: dict[str, Server] = {}
        self._stack = ExitStack()
        self.logs: list[str] = []

    def __enter__(self) -> Instances:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __getitem__(self, name: str) -> Server:
        return self._running[name]

    def start(self, *names: str) -> None:
        """Start some."""
        for name in names:
            address = self._balancer.addresses[name]
            self._running[name] = self._stack.enter_context(
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

    def stop(self, *names: str) -> None:
        """End some by SIGTERM."""
        for name in names:
            assert self[name].stop() == 0
            self.logs.append(self[name].stderr)


def test_instances_are_restarted_and_no_line_is_lost_or_answered_twice(
    tmp_path: Path, thorough: bool
) -> None:
    restarts = MANY_RESTARTS if thorough else RESTARTS
    balancer = Balancer(tmp_path)
    with balancer.running(), Instances(balancer) as instances:
        instances.start(*INSTANCES)
        for name in INSTANCES:
            balancer.wait_until_up(name)
        begun = time.monotonic()
        with clients(6, balancer.connect) as several:
            for name in islice(cycle(INSTANCES), restarts):
                instances.stop(name)
                assert not balancer.is_up(name)  # it was found out while it still served
                instances.start(name)
                balancer.wait_until_up(name)
        seconds = time.monotonic() - begun
        instances.stop(*INSTANCES)
    answered = sum(len(one.answers) for one in several)
    print(
        f"{restarts} restarts in {seconds:.1f} s: "
        f"{sum(one.connections for one in several)} connections, {answered} lines, "
        f"{sum(one.resent for one in several)} of them sent again"
    )
    # Every restart closed some, so the clients were there.
    assert sum(one.closed_by_server for one in several) >= restarts
    # None was coded twice either, with an answer that got lost on the way.
    assert sum(lines_answered_by(log) for log in instances.logs) == answered


def test_who_comes_while_a_dead_instance_is_not_found_out_gets_another(tmp_path: Path) -> None:
    balancer = Balancer(tmp_path, interval="60s")
    with Instances(balancer) as instances:
        instances.start(*INSTANCES)
        with balancer.running():
            # It looks at the first at once, and at each of the others 20 s later.
            balancer.wait_until_checked("one")
            for name in ("one", "two"):
                instances[name].kill()
            for number in range(20):
                with balancer.connect() as client:
                    assert ask(client, b"Hello %d\n" % number) == both(b"Hello %d\n" % number)
            assert balancer.is_up("one")


def test_tls_is_passed_on_and_the_instance_knows_the_client(tmp_path: Path) -> None:
    balancer = Balancer(tmp_path)
    authority = Authority.at(tmp_path)
    certificate, key = authority.write_server()
    options = ("--tls-cert", certificate, "--tls-key", key)
    with balancer.running(), Instances(balancer, *options, scheme="tls") as instances:
        instances.start("three")
        balancer.wait_until_up("three")
        context = authority.trusting()
        with context.wrap_socket(balancer.connect(), server_hostname="localhost") as client:
            host, port = client.getsockname()
            client.sendall(b"Hello\n")
            assert receive_lines(client, 2) == both(b"Hello\n")
        instances["three"].wait_for_record(f"closed: peer={host}:{port} ")
