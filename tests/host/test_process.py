"""The process as an operator sees it: signals, probes, draining, metrics, and several services."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import pytest

from tests.helpers.certificates import Authority
from tests.helpers.running import (
    COMMAND,
    PATIENCE,
    Server,
    ending,
    environment,
    receive_lines,
    started,
)
from tests.helpers.site import Site

METRICS = ("--metrics", "tcp://127.0.0.1:0")


@contextmanager
def watched(*options: str | Path, listeners: int = 1) -> Iterator[Server]:
    """Start the server with metrics on a free port; it has to end well."""
    with started(COMMAND, *METRICS, *options, listeners=listeners + 1) as server:
        yield server


def port_of(server: Server, what: str, number: int = 0) -> int:
    """Return a port that the server said it has for clients, or for metrics."""
    lines = [line for line in server.stdout.splitlines() if line.startswith(f"{what} ")]
    return int(lines[number].rpartition(":")[2])


def fetch(server: Server, path: str) -> tuple[int, str]:
    """Return what a probe gets."""
    connection = HTTPConnection("127.0.0.1", port_of(server, "metrics"), timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def sample(server: Server, name: str) -> float:
    """Return a number of the process, or of its only service, by its name."""
    _, text = fetch(server, "/metrics")
    [line] = [one for one in text.splitlines() if one.startswith((f"{name}{{", f"{name} "))]
    return float(line.rpartition(" ")[2])


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def exchange(client: socket.socket, line: bytes = b"a\n") -> bytes:
    """Return the two lines that answer one."""
    client.sendall(line)
    return receive_lines(client, 2)


@contextmanager
def secured(server: Server, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """Connect by TLS."""
    with (
        connect(port_of(server, "listening")) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        yield client


# Draining


def test_clients_are_welcome_while_it_drains_and_probes_say_no() -> None:
    with watched("--listen", "127.0.0.1:0", "--drain-delay", "2") as server:
        assert fetch(server, "/readyz") == (200, "ready\n")
        server.process.send_signal(signal.SIGTERM)
        while fetch(server, "/readyz")[0] == 200:
            pass
        assert fetch(server, "/livez") == (200, "alive\n")
        with connect(port_of(server, "listening")) as client:
            assert exchange(client) == b"a\nn\n"
            assert client.recv(1) == b""  # the delay is over
        assert server.wait() == 0


def test_a_second_signal_does_not_wait_for_the_drain() -> None:
    with watched("--listen", "127.0.0.1:0", "--drain-delay", "1000") as server:
        server.process.send_signal(signal.SIGTERM)
        while fetch(server, "/readyz")[0] == 200:
            pass
        assert server.stop_at_once() == 128 + signal.SIGTERM


# Metrics


def test_lines_are_counted_while_a_client_is_there_and_after() -> None:
    with watched("--listen", "127.0.0.1:0") as server:
        with connect(port_of(server, "listening")) as client:
            exchange(client)
            exchange(client)
            assert sample(server, "cipherecho_connections_open") == 1
            assert sample(server, "cipherecho_lines_total") == 2
            assert sample(server, "cipherecho_received_bytes_total") == 4
            assert sample(server, "cipherecho_sent_bytes_total") == 8
        server.wait_for_record("closed: ")
        assert sample(server, "cipherecho_connections_open") == 0
        assert sample(server, "cipherecho_lines_total") == 2


def test_what_the_log_loses_is_counted() -> None:
    with Path("/dev/full").open("wb") as full:
        options = [*METRICS, "--listen", "127.0.0.1:0"]
        with started(COMMAND, *options, listeners=2, stderr=full.fileno()) as server:
            with connect(port_of(server, "listening")) as client:
                exchange(client)
            while not sample(server, "cipherecho_log_records_lost_total"):
                pass
            assert sample(server, "cipherecho_log_records_lost_total") == 1


def test_the_limit_that_is_told_is_what_descriptors_allow() -> None:
    few = 'ulimit -n 200; exec "$0" "$@"'
    options = [*METRICS, "--listen", "127.0.0.1:0"]
    with started("sh", "-c", few, COMMAND, *options, listeners=2) as server:
        record = server.wait_for_record("connections at once, not 1000")
        limit = sample(server, "cipherecho_connections_limit")
        assert f"serving {limit:g} connections at once, not 1000" in record
        assert 0 < limit < 200


# Several services


def test_each_service_has_its_own_cipher_and_limits(tmp_path: Path) -> None:
    config = tmp_path / "cipherecho.toml"
    config.write_text(
        """
        [[listener]]
        url = "tcp://127.0.0.1:0"
        max-connections = 1

        [[listener]]
        url = "tcp://127.0.0.1:0"
        cipher = "caesar:1"
        """
    )
    with watched("--config", config, listeners=2) as server:
        first, second = (port_of(server, "listening", number) for number in (0, 1))
        with connect(first) as client, connect(first) as refused, connect(second) as other:
            assert exchange(client) == b"a\nn\n"
            assert receive_lines(refused, 1).startswith(b"!error: the server is full, serving 1;")
            assert exchange(other) == b"a\nb\n"


# SIGHUP


def test_a_reload_is_for_new_connections(tmp_path: Path) -> None:
    old, new = Authority.at(tmp_path / "old"), Authority.at(tmp_path / "new")
    certificate, key = old.write_server()
    options: list[str | Path] = [
        "--listen",
        "tls://127.0.0.1:0",
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
    ]
    with watched(*options) as server:
        with secured(server, old.trusting()) as before:
            assert exchange(before) == b"a\nn\n"
            for source, target in zip(new.write_server(), (certificate, key), strict=True):
                source.replace(target)
            server.process.send_signal(signal.SIGHUP)
            server.wait_for_record("certificates reloaded")
            with secured(server, new.trusting()) as after:
                assert exchange(after) == b"a\nn\n"
            assert exchange(before) == b"a\nn\n"


def is_no_key(key: Path) -> None:
    key.write_text("not a key")


def is_gone(key: Path) -> None:
    key.unlink()


def never_ends(key: Path) -> None:
    key.unlink()
    key.symlink_to("/dev/zero")


@pytest.mark.parametrize("fault", [is_no_key, is_gone, never_ends])
def test_a_reload_that_fails_changes_nothing_and_says_so(
    tmp_path: Path, fault: Callable[[Path], None]
) -> None:
    authority = Authority.at(tmp_path)
    certificate, key = authority.write_server()
    options: list[str | Path] = [
        "--listen",
        "tls://127.0.0.1:0",
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
    ]
    with watched(*options) as server:
        fault(key)
        server.process.send_signal(signal.SIGHUP)
        record = server.wait_for_record("the certificates in use are kept")
        assert str(key) in record
        with secured(server, authority.trusting()) as client:
            assert exchange(client) == b"a\nn\n"


def test_a_reload_that_waits_for_a_file_holds_up_nobody(tmp_path: Path) -> None:
    authority = Authority.at(tmp_path)
    certificate, key = authority.write_server()
    options: list[str | Path] = [
        "--listen",
        "tls://127.0.0.1:0",
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
    ]
    with watched(*options) as server:
        key.unlink()
        os.mkfifo(key)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_record("reloading")
        with secured(server, authority.trusting()) as client:
            assert exchange(client) == b"a\nn\n"
        begin = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begin < 9  # it would go on for ten


# The files have been read when a cipher is imported.
BREAKS_READING = """
import cipherecho.network.certificates

def broken(path):
    raise ZeroDivisionError("nobody thought of it")

cipherecho.network.certificates.read_file = broken

class Breaks:
    "Breaks how files are read."
    def encrypt(self, body: bytes) -> bytes:
        return body
"""


def test_a_reload_that_raises_what_nobody_thought_of_changes_nothing(tmp_path: Path) -> None:
    authority = Authority.at(tmp_path)
    certificate, key = authority.write_server()
    Site(tmp_path).install("acme-ciphers", {"breaks": "acme:Breaks"}, acme=BREAKS_READING)
    command: list[str | Path] = ["env", f"PYTHONPATH={tmp_path}", COMMAND, "--cipher", "breaks"]
    options: list[str | Path] = [
        "--listen",
        "tls://127.0.0.1:0",
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
    ]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    with ending(process):
        server = Server(process)
        server.wait_for_listeners(1)
        process.send_signal(signal.SIGHUP)
        server.wait_for_record(
            "the reload failed, and the certificates in use are kept: nobody thought"
        )
        with secured(server, authority.trusting()) as client:
            assert exchange(client) == b"a\na\n"
        assert server.stop() == 0


def test_a_key_from_a_pipe_is_kept_by_a_reload_in_the_sandbox(tmp_path: Path) -> None:
    authority = Authority.at(tmp_path)
    certificate, key = authority.write_server()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    Thread(target=pipe.write_bytes, args=(key.read_bytes(),), daemon=True).start()
    listen = [word for _ in range(2) for word in ("--listen", "tls://127.0.0.1:0")]
    options: list[str | Path] = [*listen, "--tls-cert", certificate, "--tls-key", pipe, "--sandbox"]
    with watched(*options, listeners=2) as server:
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_record(f"{pipe} can't be read again, so its contents are kept")
        server.wait_for_record("certificates reloaded")
        with secured(server, authority.trusting()) as client:
            assert exchange(client) == b"a\nn\n"


def test_a_key_that_everybody_can_read_is_warned_of() -> None:
    with TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        certificate, key = Authority.at(Path(directory)).write_server()
        key.chmod(0o644)
        options: list[str | Path] = [
            "--listen",
            "tls://127.0.0.1:0",
            "--tls-cert",
            certificate,
            "--tls-key",
            key,
        ]
        with watched(*options) as server:
            warning = f"can read the TLS key in {key}: run chmod"
            server.wait_for_record(warning)
            key.chmod(0o640)
            server.process.send_signal(signal.SIGHUP)
            server.wait_for_record("certificates reloaded")
        assert server.stderr.count(warning) == 1


def test_a_reload_without_certificates_ends_nothing() -> None:
    with watched("--listen", "127.0.0.1:0") as server:
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_record("reloading")
        with connect(port_of(server, "listening")) as client:
            assert exchange(client) == b"a\nn\n"


@pytest.mark.parametrize("sandbox", [[], ["--sandbox"]])
def test_a_reload_says_that_other_settings_take_a_restart(
    tmp_path: Path, sandbox: list[str]
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('listen = "127.0.0.1:0"\n')
    with started(COMMAND, "--config", file, *sandbox) as server:
        file.write_text('listen = "127.0.0.1:0"\nmax-line = 0\nnonsense = 1\n')
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_record(f"{file} has changed since the start, and settings take a restart")
        assert server.ask(b"Hello\n") == b"Hello\nUryyb\n"


# TLS


def test_a_client_without_a_certificate_is_told_though_it_has_sent_lines(tmp_path: Path) -> None:
    authority = Authority.at(tmp_path)
    certificate, key = authority.write_server()
    options: list[str | Path] = [
        "--listen",
        "tls://127.0.0.1:0",
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
    ]
    with watched(*options, "--tls-client-ca", authority.root) as server:
        for _ in range(20):
            with secured(server, authority.trusting()) as client:
                client.sendall(b"a line\n" * 100)
                with pytest.raises(ssl.SSLError, match="certificate required"):
                    client.recv(1)
        server.wait_for_record("no certificate")


def test_the_log_says_whom_a_certificate_is_for(tmp_path: Path) -> None:
    authority = Authority.at(tmp_path)
    certificate, key = authority.write_server()
    alice = authority.write_client("alice\n")
    options: list[str | Path] = [
        "--listen",
        "tls://127.0.0.1:0",
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
    ]
    with watched(*options, "--tls-client-ca", authority.root) as server:
        with secured(server, authority.trusting(alice)) as client:
            assert exchange(client) == b"a\nn\n"
        assert "certificate='CN=alice" in server.wait_for_record("closed: ")
