"""The servers that are measured: cipherecho, and its peers.

Each is started afresh for every measurement, on a port that the system picks.
"""

from __future__ import annotations

import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prepare import HERE, WASM_PLUGIN, Tools
from processes import Process, started

BASELINE = "uvloop-protocol"
BASELINE_MALLOC = "uvloop-protocol-malloc"
OURS = "cipherecho"
WATCHED = "cipherecho-watched"
GUEST = "cipherecho-wasm"

_ROT13_GUEST = WASM_PLUGIN / "guests" / "rot13.wat"

_PATIENCE_SECONDS = 20.0

_FILTER = "stdbuf -oL tr A-Za-z N-ZA-Mn-za-m"

# The C library gives large blocks back to the system at once, and the faults of having them anew
# can take 40% of the time of a small Python process that receives much, and more of uvloop's over
# TLS, which has such blocks for every receive; which one it hits is luck. With these, none.
_KEEP_MEMORY = ("env", "MALLOC_MMAP_THRESHOLD_=100000000", "MALLOC_TRIM_THRESHOLD_=1000000000")

# What a process or two for each client can do.
_FEW_CLIENTS = (
    "roundtrip-50",
    "pipelined-26",
    "pipelined-100",
    "pipelined-1000",
    "memory",
    "churn",
)


class CannotStartError(Exception):
    """A server ended, or said nothing, before it listened; the message is its own complaint."""


@dataclass(frozen=True)
class Server:
    """A server that can be started.

    Attributes:
      name: for ``--peers`` and the JSON.
      title: for people.
      command: from a port, for those that can't pick one and say so, to the command line.
      tls_command: the command line for the rows over TLS; empty to be left out of those.
      left_out_of: the rows that it is not measured in.
      rows: the only ones that it is measured in; None for no such bound.
      code_only: it sends no echo, so it does half the sending.
      says_port: it says on standard output which port it listens on.
      most_idle: how many idle connections it is given.
      at_once: how many connections are made at a time when they come and go.
    """

    name: str
    title: str
    command: Callable[[int], Sequence[str | Path]]
    tls_command: Sequence[str | Path] = ()
    left_out_of: tuple[str, ...] = ()
    rows: tuple[str, ...] | None = None
    code_only: bool = False
    says_port: bool = True
    most_idle: int = 10_000
    at_once: int = 32

    def is_in(self, row: str) -> bool:
        """Return whether the server is measured in a row."""
        if is_tls(row) and not self.tls_command:
            return False
        return row not in self.left_out_of and (self.rows is None or row in self.rows)


def is_tls(row: str) -> bool:
    """Return whether what a row measures is TLS."""
    return row.startswith("tls-")


def servers(tools: Tools) -> list[Server]:
    """Return the servers that can be had on this machine, cipherecho first."""
    here = HERE / "peers"
    python = tools.python

    def fixed(*command: str | Path) -> Callable[[int], Sequence[str | Path]]:
        return lambda port: command

    # As it is by default, but for more clients than it allows then; and, where it is quiet, like
    # the others it keeps no record of every connection.
    server: list[str | Path] = [tools.cipherecho, "--max-connections", "20000"]
    ours = [*server, "--cipher", "rot13"]
    quiet = ["--log-level", "warning"]
    tcp = ["--listen", "tcp://127.0.0.1:0"]
    tls: list[str | Path] = ["--listen", "tls://127.0.0.1:0"]
    tls += ["--tls-cert", tools.certificate, "--tls-key", tools.key]
    uvloop: list[str | Path] = [python, here / "protocol.py", "uvloop"]
    asyncio: list[str | Path] = [python, here / "protocol.py", "asyncio"]
    certified = [tools.certificate, tools.key]
    found = [
        Server(OURS, "cipherecho", fixed(*ours, *tcp, *quiet), [*ours, *tls, *quiet]),
        Server(
            "cipherecho-tasks",
            "cipherecho --no-express",
            fixed(*ours, *tcp, *quiet, "--no-express"),
            [*ours, *tls, *quiet, "--no-express"],
        ),
        Server("cipherecho-logging", "cipherecho, logging", fixed(*ours, *tcp), rows=("churn",)),
        Server(
            WATCHED,
            "cipherecho, with metrics and JSON log",
            fixed(*ours, *tcp, "--metrics", "tcp://127.0.0.1:0", "--log-format", "json"),
            rows=("roundtrip-50", "roundtrip-500"),
        ),
        Server(
            GUEST,
            "cipherecho, ROT13 in WebAssembly",
            fixed(*server, "--cipher", f"wasm:module={_ROT13_GUEST}", *tcp, *quiet),
            rows=(
                *("roundtrip-1", "roundtrip-50"),
                *("pipelined-26", "pipelined-100", "pipelined-1000", "memory"),
            ),
            most_idle=1000,
        ),
        Server(BASELINE, "uvloop Protocol", fixed(*uvloop), [*uvloop, *certified]),
        Server(
            BASELINE_MALLOC,
            "uvloop Protocol, malloc set",
            fixed(*_KEEP_MEMORY, *uvloop),
            [*_KEEP_MEMORY, *uvloop, *certified],
            rows=(
                *("roundtrip-50", "tls-50", "tls-500"),
                *("pipelined-26", "pipelined-100", "pipelined-1000"),
            ),
        ),
        Server("uvloop-streams", "uvloop streams", fixed(python, here / "streams.py", "uvloop")),
        Server("asyncio-protocol", "asyncio Protocol", fixed(*asyncio), [*asyncio, *certified]),
        Server("asyncio-streams", "asyncio streams", fixed(python, here / "streams.py", "asyncio")),
        Server(
            "trio-tutorial",
            "Trio tutorial",
            fixed(python, here / "trio_tutorial.py"),
            left_out_of=("scale",),  # it takes minutes
        ),
        Server("epoll", "C epoll", fixed(tools.epoll)),
    ]
    if tools.go_peer is not None:
        found.append(Server("go", "Go", fixed(tools.go_peer), [tools.go_peer, *certified]))
    if shutil.which("ncat"):
        found.append(
            Server(
                "ncat",
                "ncat with tr",
                lambda port: [
                    *("ncat", "-lk", "-m", "20000", "127.0.0.1", str(port)),
                    *("--sh-exec", f"exec {_FILTER}"),
                ],
                rows=_FEW_CLIENTS,
                code_only=True,
                says_port=False,
                most_idle=200,
                at_once=8,
            )
        )
    if shutil.which("socat"):
        found.append(
            Server(
                "socat",
                "socat with tr",
                lambda port: [
                    "socat",
                    f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,backlog=128,nodelay",
                    f"EXEC:{_FILTER}",
                ],
                rows=_FEW_CLIENTS,
                code_only=True,
                says_port=False,
                most_idle=200,
                at_once=8,
            )
        )
    return found


@contextmanager
def running(server: Server, core: int, *, tls: bool = False) -> Iterator[tuple[Process, int]]:
    """Start a server on a core; give its process and its port; end it on the way out.

    Raises:
      CannotStartError: it ended, or did not listen in time.
    """
    port = 0 if server.says_port else _free_port()
    try:
        command = server.tls_command if tls else server.command(port)
        with started(command, core) as process:
            yield process, _port_said(process) if server.says_port else _taken(process, port)
    except FileNotFoundError as error:
        raise CannotStartError(str(error)) from error


def _port_said(process: Process) -> int:
    """Return the port that a server says it listens on; a profiler may say something first."""
    hung = threading.Timer(_PATIENCE_SECONDS, process.end)  # and then its output ends
    hung.start()
    try:
        while (line := process.read_line()) is not None:
            if port := re.search(r"\blistening\b.*?(\d+)$", line):
                return int(port[1])
    finally:
        hung.cancel()
        hung.join()
    raise CannotStartError(process.complaint() or "it ended, or said no port")


def _taken(process: Process, port: int) -> int:
    """Wait for a port to be listened on, without connecting; return it."""
    listening = f"0100007F:{port:04X} 00000000:0000 0A"
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while listening not in Path("/proc/net/tcp").read_text():
        if process.popen.poll() is not None or time.monotonic() > deadline:
            raise CannotStartError(process.complaint() or "it did not listen")
        time.sleep(0.005)
    return port


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
