"""A run of the load against a server, with the server's use of the machine from mark to mark."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prepare import Tools
from processes import Process, started


class MeasurementError(Exception):
    """A reply was wrong, or did not come; the message says which."""


@dataclass(frozen=True)
class Settings:
    """How long and how much is measured; times are in seconds.

    Attributes:
      cores: the server's and the load's.
      warmup: of a closed loop, a stream or comings and goings, not counted.
      seconds: of those, counted.
      many: connections in the rows that are about many.
      starts: how many starts make one sample, their median.
      text: the file for `cipherecho apply`.
    """

    cores: tuple[int, int]
    warmup: float
    seconds: float
    many: int
    starts: int
    text: Path


@dataclass(frozen=True)
class Load:
    """What to load a server with; `line_bytes` are with the LF, and `longer` multiplies times.

    Over TLS, there has to be a load for that.
    """

    mode: str
    connections: int
    line_bytes: int = 26
    longer: float = 1
    code_only: bool = False
    tls: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a run of the load gave: its own result, and what the server took meanwhile.

    `waited_seconds` is how long the server could have run and something else did.
    """

    result: dict[str, Any]
    cpu_seconds: float
    user_seconds: float
    system_seconds: float
    waited_seconds: float
    memory_bytes: int

    @property
    def busy(self) -> dict[str, float]:
        """The share of the time for which the server, and the load, kept a core busy.

        And for which the server waited for its core.
        """
        wall = self.result["wall_s"]
        return {
            "server_busy": self.cpu_seconds / wall,
            "server_waited": self.waited_seconds / wall,
            "load_busy": self.result["load_cpu_s"] / wall,
        }


def apply_load(load: Load, tools: Tools, settings: Settings, server: Process, port: int) -> Outcome:
    """Run the load to its end, on its core.

    Raises:
      MeasurementError: a reply was wrong, or did not come.
    """
    program = tools.tls_load if load.tls else tools.load
    assert program is not None
    command: list[str | Path] = [program, load.mode, str(port)]
    command += ["--connections", str(load.connections), "--line", str(load.line_bytes)]
    command += ["--warmup", str(settings.warmup * load.longer)]
    command += ["--seconds", str(settings.seconds * load.longer)]
    if load.code_only:
        command.append("--code-only")
    if load.tls:
        command += ["--certificate", tools.certificate]
    with started(command, settings.cores[1], stdin=subprocess.PIPE) as running:
        taken = []
        for expected in ("begin", "end"):
            if running.read_line() != expected:
                raise _failure(running, server)
            cpu = server.cpu_seconds()
            parts = server.user_and_system_seconds()
            taken.append((cpu, *parts, server.waited_seconds(), server.memory_bytes()))
            running.write_line()
        try:
            result = json.loads(running.read_line() or "")
        except json.JSONDecodeError:
            raise _failure(running, server) from None
    cpu, user, system, waited, memory = (
        after - before for before, after in zip(*taken, strict=True)
    )
    return Outcome(result, cpu, user, system, waited, round(memory))


def _failure(load: Process, server: Process) -> MeasurementError:
    said = [load.complaint(), server.complaint()]
    return MeasurementError("; the server: ".join(part for part in said if part) or "no result")
