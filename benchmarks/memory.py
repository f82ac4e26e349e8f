#!/usr/bin/env python3
"""Measure what a client costs the server in memory, by what the client does.

The server is started anew for each kind of client, and its resident set is read before they
come and when all of them have done what they do.  What the kernel keeps for a socket is not in
it.  From an environment that has cipherecho::

    python3 benchmarks/memory.py
    python3 benchmarks/memory.py --clients 2000 --only "TLS, a line"

The table is the one of docs/how-to/limits.md.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

Client = socket.socket

MAX_LINE = 65_536

# Plenty, so that no limit but the number of clients has a say.
_UNBOUNDED = ("--log-level", "warning", "--max-buffered", "100GiB")
_PATIENT = (
    *("--idle-timeout", "inf", "--line-timeout", "inf"),
    *("--write-timeout", "inf", "--handshake-timeout", "inf"),
)

_HELLO = b"Hello, world! Hello, world\n"

# What OpenSSL and the server have to be given of a record before they wait for the rest of it.
_BEGUN_RECORD = b"\x17\x03\x03\x40\x00" + bytes(16_000)


def _idle(client: Client) -> None:
    """Have one line answered, and be silent."""
    client.sendall(_HELLO)
    received = b""
    while len(received) < 2 * len(_HELLO):
        received += client.recv(4096)


def _idle_after_long_lines(client: Client) -> None:
    """Have a long line answered, and be silent: OpenSSL's buffers keep their size."""
    client.sendall(b"a" * MAX_LINE + b"\n")
    missing = 2 * (MAX_LINE + 1)
    while missing:
        missing -= len(client.recv(missing))


def _begin_line(client: Client) -> None:
    client.sendall(b"a" * MAX_LINE)


def _begin_line_slowly(client: Client) -> None:
    """Begin a line in many small parts, as what grows may keep more than it has."""
    for _ in range(MAX_LINE // 1000):
        client.sendall(b"a" * 1000)


def _take_no_reply(client: Client) -> None:
    """Send lines, and read nothing, until the server reads nothing either."""
    client.setblocking(False)
    lines = (b"a" * 99 + b"\n") * 163
    silent_since = time.monotonic()
    while time.monotonic() < silent_since + 0.05:
        with suppress(BlockingIOError, ssl.SSLWantWriteError):
            if client.send(lines):
                silent_since = time.monotonic()
            continue
        time.sleep(0.005)


def _begin_hello(client: Client) -> None:
    """Begin a ClientHello, and send as much of it as a handshake may have."""
    hello = b"\x01" + (131_000).to_bytes(3) + b"\x03\x03" + bytes(32_700)
    for begin in range(0, len(hello), 16_384):
        part = hello[begin : begin + 16_384]
        client.sendall(b"\x16\x03\x01" + len(part).to_bytes(2) + part)


def _begin_record(client: Client) -> None:
    """Begin a record of TLS behind its back."""
    _idle(client)
    os.write(client.fileno(), _BEGUN_RECORD)


def _nothing(client: Client) -> None:
    """Send nothing at all."""


@dataclass(frozen=True)
class Kind:
    """Clients of one kind.

    Attributes:
      name: for the table.
      act: what each does when it is connected.
      tls: whether the listener has TLS; `secured` whether they speak it.
      options: of the server, beside those of all.
    """

    name: str
    act: Callable[[Client], None]
    tls: bool = False
    secured: bool = True
    options: Sequence[str] = ()


KINDS = [
    Kind("idle", _idle),
    Kind("idle, --no-express", _idle, options=["--no-express"]),
    Kind("a line of 64 KiB that does not end", _begin_line),
    Kind("a line of 64 KiB in small parts that does not end", _begin_line_slowly),
    Kind("takes no reply", _take_no_reply),
    Kind("before its PROXY header", _nothing, options=["--proxy-from", "127.0.0.1"]),
    Kind("TLS, before its handshake", _nothing, tls=True, secured=False),
    Kind("TLS, a handshake of 32 KiB that does not end", _begin_hello, tls=True, secured=False),
    Kind("TLS, idle", _idle, tls=True),
    Kind("TLS, idle after lines of 64 KiB", _idle_after_long_lines, tls=True),
    Kind("TLS, idle, --no-express", _idle, tls=True, options=["--no-express"]),
    Kind("TLS, a record that does not end", _begin_record, tls=True),
    Kind("TLS, a line of 64 KiB that does not end", _begin_line, tls=True),
    Kind("TLS, a line of 64 KiB in small parts that does not end", _begin_line_slowly, tls=True),
    Kind("TLS, takes no reply", _take_no_reply, tls=True),
]


def main() -> int:
    """Measure, and print a table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=1000, metavar="N")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="take the median")
    parser.add_argument("--only", default="", metavar="TEXT", help="the kinds with this in them")
    parser.add_argument("--command", default=_command(), help="the server's command")
    arguments = parser.parse_args()
    # A server of ours may have as many descriptors as the hard limit says.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as directory:
        certificate = _certificate(Path(directory))
        print("| a client that is | KiB each |\n| --- | ---: |")
        for kind in KINDS:
            if arguments.only in kind.name:
                figures = [
                    _measured(kind, arguments.command, certificate, arguments.clients)
                    for _ in range(arguments.repeat)
                ]
                print(f"| {kind.name} | {median(figures):.1f} |", flush=True)
    return 0


def _measured(kind: Kind, command: str, certificate: Path, number: int) -> float:
    """Return by how many KiB the server grew for each client."""
    trusting = ssl.create_default_context(cafile=str(certificate))
    with _running(kind, command, certificate, number) as (process, port), ExitStack() as stack:

        def connected() -> Client:
            client = socket.create_connection(("127.0.0.1", port))
            if kind.tls and kind.secured:
                client = trusting.wrap_socket(client, server_hostname="localhost")
            stack.enter_context(client)
            kind.act(client)
            return client

        for _ in range(10):  # what is only needed once is there then
            connected()
        before = _settled_kib(process.pid)
        for _ in range(number):
            connected()
        return (_settled_kib(process.pid) - before) / number


@contextmanager
def _running(
    kind: Kind, command: str, certificate: Path, number: int
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    listen = ["--listen", f"{'tls' if kind.tls else 'tcp'}://127.0.0.1:0"]
    if kind.tls:
        listen += ["--tls-cert", str(certificate)]
    words = [*command.split(), *listen, *_UNBOUNDED, *_PATIENT, *kind.options]
    words += ["--max-connections", str(2 * number + 100)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            endpoint = process.stdout.readline().decode().strip()
            yield process, int(endpoint.rpartition(":")[2])
        finally:
            process.kill()


def _settled_kib(pid: int) -> int:
    """Return the resident set of a process that has nothing left to do."""
    cpu = ""
    while (now := _cpu(pid)) != cpu:
        cpu = now
        time.sleep(0.25)
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def _cpu(pid: int) -> str:
    return " ".join(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])


def _command() -> str:
    beside = Path(sys.executable).with_name("cipherecho")
    return str(beside) if beside.exists() else shutil.which("cipherecho") or "cipherecho"


def _certificate(directory: Path) -> Path:
    """Return a file with a certificate and its key."""
    path = directory / "tls.pem"
    subprocess.run(  # noqa: S603
        [
            *("openssl", "req", "-x509", "-days", "2", "-nodes", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    path.write_text((directory / "cert.pem").read_text() + (directory / "key.pem").read_text())
    return path


if __name__ == "__main__":
    sys.exit(main())
