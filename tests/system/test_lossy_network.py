"""The wire contract over a network that is slow and loses packets.

The packets are the kernel's own, and so is what it does about those that are lost.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

import pytest

from tests.helpers.certificates import Authority
from tests.helpers.lossy_link import Link, LinkError, lossy_link
from tests.helpers.running import COMMAND, Server, both, do_without, receive_all, started

# Each way, so that a round trip takes 200 ms, and fails in a tenth of all cases.
DELAY = 0.1
LOSS = 0.05

# Some packets are lost several times, and TCP waits twice as long each time.
PATIENCE = 60.0

GRACE = 8.0

NUMBERED = b"".join(b"This is line %d\n" % number for number in range(60)) + b"the last"
LONG = b"".join(b"%d" % number + b"x" * 1000 + b"\n" for number in range(20))


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    """A network between here, where clients are, and there, where servers are."""
    try:
        with lossy_link(delay=DELAY, loss=LOSS, seed=1) as link:
            yield link
            assert link.by_netem or link.lost > 0
    except LinkError as error:
        do_without(str(error))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.at(tmp_path_factory.mktemp("ca"))


@contextmanager
def serving(link: Link, authority: Authority, *options: str) -> Iterator[Server]:
    """Have the command serve lines at the other end of the link, plain and by TLS."""
    certificate, key = authority.write_server()
    there = link.there.address
    listen = ["--listen", f"tcp://{there}:0", "--listen", f"tls://{there}:0"]
    tls = ["--tls-cert", str(certificate), "--tls-key", str(key)]
    command = [str(COMMAND), *listen, *tls, "--grace", f"{GRACE:g}", *options]
    with ExitStack() as stack:
        with link.there.entered():
            listeners = 2 + options.count("--metrics")
            server = stack.enter_context(started(*command, listeners=listeners))
        yield server


def connect(link: Link, authority: Authority, server: Server, *, tls: bool) -> socket.socket:
    """Return a connection across the link; every call on it has a timeout."""
    where = f"://{link.there.address}:"
    ports = dict(line.split(where) for line in server.stdout.splitlines() if where in line)
    port = int(ports["listening tls" if tls else "listening tcp"])
    client = link.here.connect((link.there.address, port), PATIENCE)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not tls:
        return client
    return authority.trusting().wrap_socket(
        client, server_hostname="localhost", suppress_ragged_eofs=False
    )


def driving(express: bool) -> list[str]:
    return [] if express else ["--no-express"]


def test_every_client_gets_exactly_its_replies(
    express: bool, link: Link, authority: Authority
) -> None:
    with serving(link, authority, *driving(express)) as server, ThreadPoolExecutor(12) as executor:

        def converse(tls: bool) -> bytes:
            with connect(link, authority, server, tls=tls) as client:
                for start in range(0, len(NUMBERED), 100):  # in a packet each
                    client.sendall(NUMBERED[start : start + 100])
                socket.socket.shutdown(client, socket.SHUT_WR)
                return receive_all(client)

        for answer in executor.map(converse, [False, True] * 6):
            assert answer == both(NUMBERED + b"\n")


def test_a_shutdown_answers_what_was_received(
    express: bool, link: Link, authority: Authority, tmp_path: Path
) -> None:
    metrics = tmp_path / "metrics"
    watched = [*driving(express), "--metrics", f"unix://{metrics}"]
    with serving(link, authority, *watched) as server, ThreadPoolExecutor(8) as executor:

        def converse(tls: bool) -> bytes:
            with connect(link, authority, server, tls=tls) as client:
                client.sendall(LONG)
                return receive_all(client)

        answers = [executor.submit(converse, tls) for tls in [False, True] * 4]
        everything = len(answers) * LONG.count(b"\n")
        wait_until(lambda: lines_answered(metrics) == everything)
        # Of the last replies, some packets are under way now, and some are lost.
        assert server.stop(signal.SIGTERM) == 0
        for answer in answers:
            assert answer.result(PATIENCE) == both(LONG)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    last = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < last
        Event().wait(0.01)


def lines_answered(metrics: Path) -> int:
    """Return how many lines the server says it has answered."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(metrics))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        text = receive_all(client).decode()
    [line] = [line for line in text.splitlines() if line.startswith("cipherecho_lines_total")]
    return int(float(line.rpartition(" ")[2]))
