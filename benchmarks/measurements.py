"""The measurements: what each row has run, and what it gives for each contestant.

A figure's name ends in its unit. Processor time is the server's, user and system.
"""

from __future__ import annotations

import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from loading import Load, MeasurementError, Outcome, Settings, apply_load
from prepare import Tools
from processes import started
from servers import BASELINE, OURS, Server, is_tls, running
from sharing import SCENARIOS

IMPORT_TRIO = "import-trio"
TR = "tr"

# So many connections are idle over TLS: with asyncio, they take 280 MB.
_MOST_IDLE_TLS = 1000

# What `cipherecho apply` and tr are compared on before they are timed.
_COMPARED_BYTES = 8 << 20


@dataclass(frozen=True)
class Contestant:
    """Who is measured in a row, and how: `take` gives figures by name."""

    name: str
    title: str
    take: Callable[[], dict[str, float]]


@dataclass(frozen=True)
class Row:
    """One measurement: `baseline` is the contestant that the others are divided by."""

    name: str
    baseline: str
    contestants: Sequence[Contestant]


def rows(servers: Sequence[Server], tools: Tools, settings: Settings) -> list[Row]:
    """Return all rows, each with who can do it."""
    bench = _Bench(tools, settings)

    def of_servers(name: str, take: Callable[[Server], dict[str, float]]) -> Row:
        able = [server for server in servers if server.is_in(name)]
        return Row(name, BASELINE, [Contestant(s.name, s.title, partial(take, s)) for s in able])

    start = of_servers("start", bench.start)
    importing = Contestant(IMPORT_TRIO, "python -c 'import trio'", bench.import_trio)
    found = [
        of_servers("roundtrip-1", partial(bench.roundtrip, connections=1)),
        of_servers("roundtrip-50", partial(bench.roundtrip, connections=50)),
        of_servers("roundtrip-500", partial(bench.roundtrip, connections=500)),
        of_servers("tls-50", partial(bench.roundtrip, connections=50, tls=True)),
        of_servers("tls-500", partial(bench.roundtrip, connections=500, tls=True)),
        of_servers("scale", bench.scale),
        of_servers("pipelined-26", partial(bench.pipelined, line_bytes=26)),
        of_servers("pipelined-100", partial(bench.pipelined, line_bytes=100)),
        of_servers("pipelined-1000", partial(bench.pipelined, line_bytes=1000)),
        of_servers("memory", bench.memory),
        of_servers("tls-memory", partial(bench.memory, tls=True)),
        of_servers("churn", bench.churn),
        Row("start", IMPORT_TRIO, [*start.contestants, importing]),
        Row(
            "sharing",
            "alone",
            [
                Contestant(name, one.title, partial(bench.sharing, name))
                for name, one in SCENARIOS.items()
            ],
        ),
        Row(
            "apply",
            TR,
            [
                Contestant(OURS, "cipherecho apply", partial(bench.filter, bench.apply_command)),
                Contestant(TR, "tr", partial(bench.filter, bench.tr_command)),
            ],
        ),
    ]
    return [row for row in found if tools.tls_load is not None or not is_tls(row.name)]


class _Bench:
    def __init__(self, tools: Tools, settings: Settings) -> None:
        self._tools = tools
        self._settings = settings
        self._server_core, self._load_core = settings.cores
        self.apply_command = [str(tools.cipherecho), "apply", "--cipher", "rot13"]
        self.tr_command = ["tr", "A-Za-z", "N-ZA-Mn-za-m"]

    def roundtrip(self, server: Server, *, connections: int, tls: bool = False) -> dict[str, float]:
        load = self._load(server, Load("roundtrip", connections, tls=tls))
        trips = load.result["lines"]
        latency = load.result["latency_ns"]
        return {
            "cpu_us": 1e6 * load.cpu_seconds / trips,
            "p50_us": latency["p50"] / 1e3,
            "p99.9_us": latency["p99.9"] / 1e3,
            "max_us": latency["max"] / 1e3,
            "per_s": trips / load.result["wall_s"],
            **load.busy,
        }

    def scale(self, server: Server) -> dict[str, float]:
        """Compare few connections and many on one process, so that both had the same start."""
        few_load = Load("roundtrip", 100)
        many_load = Load("roundtrip", self._settings.many, longer=2)
        with running(server, self._server_core) as (process, port):
            few, many = (
                apply_load(load, self._tools, self._settings, process, port)
                for load in (few_load, many_load)
            )
        few_us, many_us = (1e6 * load.cpu_seconds / load.result["lines"] for load in (few, many))
        return {
            "few_cpu_us": few_us,
            "many_cpu_us": many_us,
            "growth": many_us / few_us,
            "p99.9_us": many.result["latency_ns"]["p99.9"] / 1e3,
            **many.busy,
        }

    def pipelined(self, server: Server, *, line_bytes: int) -> dict[str, float]:
        load = self._load(server, Load("pipelined", 10, line_bytes))
        lines = load.result["lines"]
        return {
            "per_s": lines / load.result["wall_s"],
            "cpu_us": 1e6 * load.cpu_seconds / lines,
            **load.busy,
        }

    def memory(self, server: Server, *, tls: bool = False) -> dict[str, float]:
        most = min(server.most_idle, _MOST_IDLE_TLS) if tls else server.most_idle
        connections = min(self._settings.many, most)
        load = self._load(server, Load("idle", connections, tls=tls))
        return {"bytes": load.memory_bytes / connections, "connections": connections}

    def churn(self, server: Server) -> dict[str, float]:
        load = self._load(server, Load("churn", server.at_once))
        made = load.result["lines"]
        return {
            "per_s": made / load.result["wall_s"],
            "cpu_us": 1e6 * load.cpu_seconds / made,
            **load.busy,
        }

    def start(self, server: Server) -> dict[str, float]:
        walls, cpus = [], []
        for _ in range(self._settings.starts):
            with running(server, self._server_core) as (process, port):
                _exchange_one(port)
                walls.append(time.monotonic() - process.began)
                cpus.append(process.cpu_seconds())
        return {
            "wall_ms": 1e3 * statistics.median(walls),
            "cpu_ms": 1e3 * statistics.median(cpus),
        }

    def sharing(self, scenario: str) -> dict[str, float]:
        """Return how long clients wait while others keep a cipher busy."""
        here = Path(__file__).resolve().parent
        server: list[str | Path] = [self._tools.python, here / "peers" / "sharing_server.py"]
        if SCENARIOS[scenario].slow:
            server.append("slow")
        with started(server, self._server_core) as process:
            said = [process.read_line() or "" for _ in range(2)]
            ports = [line.rpartition(":")[2] for line in said]
            seconds = str(4 * self._settings.seconds)
            load: list[str | Path] = [sys.executable, here / "sharing.py", *ports]
            load += [scenario, seconds]
            with started(load, self._load_core) as asking:
                answer = asking.read_line()
                if answer is None:
                    raise MeasurementError(asking.complaint() or process.complaint())
        found: dict[str, float] = json.loads(answer)
        return found

    def import_trio(self) -> dict[str, float]:
        command = [str(self._tools.python), "-c", "import trio"]
        taken = [self._timed(command, os.devnull) for _ in range(self._settings.starts)]
        return {
            "wall_ms": 1e3 * statistics.median(wall for wall, _ in taken),
            "cpu_ms": 1e3 * statistics.median(cpu for _, cpu in taken),
        }

    def filter(self, command: Sequence[str]) -> dict[str, float]:
        self._compare_filters()
        _read(self._settings.text)
        wall, cpu = self._timed(command, self._settings.text)
        return {"wall_s": wall, "cpu_s": cpu, "bytes": self._settings.text.stat().st_size}

    def _compare_filters(self) -> None:
        with self._settings.text.open("rb") as text:
            sample = text.read(_COMPARED_BYTES)
        ours, theirs = (
            subprocess.run(command, input=sample, capture_output=True, check=False)  # noqa: S603
            for command in (self.apply_command, self.tr_command)
        )
        if ours.returncode or ours.stdout != theirs.stdout:
            raise MeasurementError(f"apply and tr differ: {ours.stderr.decode(errors='replace')}")

    def _timed(self, command: Sequence[str], stdin: str | Path) -> tuple[float, float]:
        """Run a command on the server's core; return its wall and its processor time."""
        with Path(stdin).open("rb") as source:
            with started(command, self._server_core, stdin=source, stdout=subprocess.DEVNULL) as it:
                wall, cpu, status = it.wait()
            if status:
                raise MeasurementError(f"{command[0]} exited with {status}: {it.complaint()}")
            return wall, cpu

    def _load(self, server: Server, load: Load) -> Outcome:
        """Start a server, and load it."""
        load = replace(load, code_only=server.code_only)
        with running(server, self._server_core, tls=load.tls) as (process, port):
            return apply_load(load, self._tools, self._settings, process, port)


def _exchange_one(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as client:
        client.sendall(b"Hello\n")
        reply = b""
        while len(reply) < len(b"Hello\nUryyb\n") and (more := client.recv(100)):
            reply += more
    if reply != b"Hello\nUryyb\n":
        raise MeasurementError(f"got {reply!r}, expected a line and its ROT13")


def _read(path: Path) -> None:
    """Have a file in memory, where the system may no longer have it since it was last read."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def write_text(path: Path, size: int) -> None:
    """Write a text of that many bytes: words of letters, and lines of 0 to some 140 bytes."""
    dice = random.Random(13)  # noqa: S311
    letters = "etaoinshrdlucmfwypvbgkjqxzETAOIN"
    words = ["".join(dice.choices(letters, k=dice.randint(1, 11))) for _ in range(2000)]
    lines = (" ".join(dice.choices(words, k=dice.randint(0, 20))) for _ in range(20_000))
    block = "\n".join(lines).encode() + b"\n"
    with path.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
        file.write(block[: size % len(block)])
