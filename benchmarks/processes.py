"""Processes: started on a core of their own, accounted for with all they start, and ended.

A server may be many processes, such as socat's two for each client. Each is started in a session
of its own, and what belongs to it is what is in that session.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cores() -> tuple[int, int]:
    """Return the core for the server and the one for the load.

    The first one, which often has most of the interrupts, is for the load.

    Raises:
      OSError: there is only one.
    """
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        raise OSError("got one processor core, expected two: one for the server, one for the load")
    return available[-1], available[0]


@contextmanager
def started(
    command: Sequence[str | Path],
    core: int,
    *,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
) -> Iterator[Process]:
    """Run a command on a core; end it, and all that it has started, on the way out."""
    with tempfile.TemporaryFile() as stderr:
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})  # inherited: nothing of the command runs elsewhere
        began = time.monotonic()
        try:
            popen = subprocess.Popen(  # noqa: S603
                [str(part) for part in command],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        finally:
            os.sched_setaffinity(0, before)
        process = Process(popen, stderr, began)
        try:
            yield process
        finally:
            process.end()
            for pipe in (popen.stdin, popen.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()


class Process:
    """A command that runs, with whatever it has started."""

    def __init__(self, popen: subprocess.Popen[bytes], stderr: IO[bytes], began: float) -> None:
        self.popen = popen
        self.began = began  # by time.monotonic()
        self._stderr = stderr

    def read_line(self) -> str | None:
        """Return the next line of standard output, stripped; None at its end."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        return line.decode(errors="replace").strip() if line else None

    def write_line(self) -> None:
        """Write an empty line to standard input."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(b"\n")
        self.popen.stdin.flush()

    def wait(self) -> tuple[float, float, int]:
        """Wait for the first process; return its wall and processor seconds and exit status."""
        _, status, usage = os.wait4(self.popen.pid, 0)
        wall = time.monotonic() - self.began
        self.popen.returncode = os.waitstatus_to_exitcode(status)
        return wall, usage.ru_utime + usage.ru_stime, self.popen.returncode

    def complaint(self) -> str:
        """Return the end of what is on standard error."""
        with suppress(OSError):
            size = os.fstat(self._stderr.fileno()).st_size
            said = os.pread(self._stderr.fileno(), 1000, max(0, size - 1000))
            return said.decode(errors="replace").strip()
        return ""

    def cpu_seconds(self) -> float:
        """Return the processor time, user and system, of all processes so far.

        Of those that run, to the nanosecond, by their processor-time clocks, which include threads
        that have ended; of those that have ended, to the tick.
        """
        total = 0.0
        for pid, fields in self._members():
            total += (
                int(fields[13]) + int(fields[14])
            ) / TICKS_PER_SECOND  # of waited-for children
            try:
                total += time.clock_gettime(_cpu_clock(pid))
            except OSError:  # it has ended and nobody has waited for it
                total += (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
        return total

    def waited_seconds(self) -> float:
        """Return for how long threads that run now wanted the core while another had it.

        Of a single process with one busy thread, that is what others took from it.
        """
        total = 0
        for pid, _ in self._members():
            for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with suppress(OSError):
                    total += int(thread.read_text().split()[1])
        return total / 1e9

    def user_and_system_seconds(self) -> tuple[float, float]:
        """Return both parts of the processor time, to the tick."""
        user = system = 0
        for _, fields in self._members():
            user += int(fields[11]) + int(fields[13])
            system += int(fields[12]) + int(fields[14])
        return user / TICKS_PER_SECOND, system / TICKS_PER_SECOND

    def memory_bytes(self) -> int:
        """Return the proportional set size of all processes together."""
        total = 0
        for pid, _ in self._members():
            with suppress(OSError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += 1024 * int(rollup.split("\nPss:")[1].split()[0])
        return total

    def pids(self) -> list[int]:
        """Return the processes, the first one first."""
        return sorted(pid for pid, _ in self._members())

    def end(self) -> None:
        """Kill all processes, and wait for the first one."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        for pid, fields in self._members():  # those that have left the process group
            if fields[0] != "Z":
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.popen.wait()

    def _members(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each process's id and the fields of its ``stat`` file from the state on."""
        session = str(self.popen.pid)
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[3] == session:
                    yield int(entry.name), fields


def _cpu_clock(pid: int) -> int:
    """Return the id of a process's processor-time clock.

    As ``clock_getcpuclockid`` of the C library computes it, which Python has for threads alone.
    """
    return (~pid << 3) | 2
