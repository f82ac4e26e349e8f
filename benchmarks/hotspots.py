"""The profile: where cipherecho's time goes under the loads that matter most.

Processor time and system calls are counted, and py-spy samples the stacks, those in native code
included. Counting calls and sampling slow the server down, so each has a run of its own; of
what py-spy says, the shares are what to read.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from loading import Load, MeasurementError, Outcome, Settings, apply_load
from prepare import Tools
from servers import CannotStartError, Server, running

_SHOWN = 25
_SAMPLES_PER_SECOND = 400

# What is not within Trio's loop is the start, and other threads, which mostly wait.
_SERVING = "unrolled_run (trio/"

_LOADS = {
    "roundtrip-50": Load("roundtrip", 50, longer=2),
    "roundtrip-500": Load("roundtrip", 500, longer=2),
    "pipelined-26": Load("pipelined", 10, longer=2),
}


def profile(server: Server, tools: Tools, settings: Settings, output: Path) -> int:
    """Print the tables, and write them, and the stacks that they are made from, to a folder."""
    parts = [f"# Where the time of {server.title} goes"]
    profiler = _Profiler(server, tools, settings)
    for name, load in _LOADS.items():
        print(f"profiling {name}", file=sys.stderr, flush=True)
        stacks = output / f"profile-{name}.folded"
        parts.append(f"## {name}")
        for part in (profiler.time, profiler.calls):
            parts.append(_tried(part, load))
        parts.append(_tried(partial(profiler.stacks, to=stacks), load))
    words = "\n\n".join(part for part in parts if part) + "\n"
    (output / "profile.md").write_text(words)
    print(words)
    return 0


def _tried(part: Callable[[Load], str], load: Load) -> str:
    try:
        return part(load)
    except (MeasurementError, CannotStartError) as error:
        return f"Left out: {' '.join(str(error).split())}"


class _Profiler:
    def __init__(self, server: Server, tools: Tools, settings: Settings) -> None:
        self._server = server
        self._tools = tools
        self._settings = settings

    def time(self, load: Load) -> str:
        """Return what a line costs, undisturbed."""
        outcome = self._run(load)
        assert outcome is not None
        both = outcome.user_seconds + outcome.system_seconds
        return (
            f"{1e6 * outcome.cpu_seconds / outcome.result['lines']:.2f} µs of CPU a line: "
            f"{outcome.user_seconds / both:.0%} in user code, "
            f"{outcome.system_seconds / both:.0%} in the system."
        )

    def calls(self, load: Load) -> str:
        """Return how many system calls lines take, where there is strace."""
        strace = shutil.which("strace")
        if strace is None:
            return ""
        with tempfile.NamedTemporaryFile("r") as counted:
            prefix = [strace, "-f", "-c", "-U", "calls,name", "-o", counted.name]
            self._run(None, prefix)
            for_nothing = _counted(Path(counted.name))
            outcome = self._run(dataclasses.replace(load, longer=0.5), prefix, warmup=0)
            assert outcome is not None
            calls = _counted(Path(counted.name)) - for_nothing
        thousands = outcome.result["lines"] / 1000
        shown = [f"{name} {count / thousands:.1f}" for name, count in calls.most_common(8)]
        return f"System calls for 1,000 lines, by strace: {', '.join(shown)}."

    def stacks(self, load: Load, to: Path) -> str:
        """Write the sampled stacks, for a flame graph; return the hottest functions."""
        prefix: list[str | Path] = [self._tools.py_spy, "record", "--native", "--format", "raw"]
        prefix += ["--rate", str(_SAMPLES_PER_SECOND), "--output", to, "--"]
        self._run(load, prefix, apart=True)
        return _hot(to.read_text()) if to.exists() else "py-spy wrote nothing."

    def _run(
        self,
        load: Load | None,
        prefix: Sequence[str | Path] = (),
        *,
        warmup: float | None = None,
        apart: bool = False,
    ) -> Outcome | None:
        """Run the server, under another command if there is a prefix, and load it if it is to be.

        With `apart`, that other command runs on the core of the load.
        """
        settings = self._settings
        if warmup is not None:
            settings = dataclasses.replace(settings, warmup=warmup)
        server = dataclasses.replace(
            self._server, command=lambda port: [*prefix, *self._server.command(port)]
        )
        with running(server, settings.cores[0]) as (process, port):
            if apart:
                for thread in Path(f"/proc/{process.popen.pid}/task").iterdir():
                    os.sched_setaffinity(int(thread.name), {settings.cores[1]})
            outcome = apply_load(load, self._tools, settings, process, port) if load else None
            if prefix:  # it writes what it has found when the server has ended
                for pid in process.pids():
                    if pid != process.popen.pid:
                        os.kill(pid, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.popen.wait(30)
        return outcome


def _counted(report: Path) -> Counter[str]:
    found = re.findall(r"^ *(\d+) (\w+)$", report.read_text(), re.MULTILINE)
    return Counter({name: int(count) for count, name in found if name != "total"})


def _hot(stacks: str) -> str:
    """Return a table of functions, by the share of the samples that they were on top of.

    A line of `stacks` is frames from the outermost on, with `;` between, and a count.
    """
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        if _SERVING not in stack:
            continue
        frames = [re.sub(r":\d+\)", ")", frame) for frame in stack.split(";")]
        alone[frames[-1]] += int(count)
        for frame in set(frames):
            within[frame] += int(count)
    total = alone.total() or 1
    rows = [
        f"| {count / total:5.1%} | {within[frame] / total:6.1%} | `{frame}` |"
        for frame, count in alone.most_common(_SHOWN)
    ]
    heading = ["|  self |  total | function |", "| ----: | -----: | -------- |"]
    return "\n".join([f"{total} samples within Trio's loop, by py-spy:", "", *heading, *rows])
