#!/usr/bin/env python3
"""Compare sessions as they are here with those of an earlier commit, without any server.

Both code the same lines in turn, each in a process of its own, and processor time is counted.  The
earlier commit takes part twice, and what it differs from itself by is the noise.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

_CHECKOUT = Path(__file__).resolve().parents[1]
_SOURCES = ["src", "plugins/cipherecho-classical/src"]

# As much as the server receives at a time.
_BULK_BYTES = 64 * 1024

_TEXT = b"Attack at dawn, by the northern gate; and tell nobody of it. "

# What codes, how long its lines are in bytes, and whether they come one at a time.
_ROWS: dict[str, tuple[str, int, bool]] = {
    "table-single": ("table", 26, True),
    "table": ("table", 26, False),
    "table-1000": ("table", 1000, False),
    "table-CRLF": ("table crlf", 26, False),
    "table-cipher": ("table cipher", 26, False),
    "stretches-single": ("vigenere", 26, True),
    "stretches": ("vigenere", 26, False),
    "stretches-1000": ("vigenere", 1000, False),
    "blocks-single": ("blocks", 26, True),
    "blocks": ("blocks", 26, False),
    "blocks-1000": ("blocks", 1000, False),
    "blocks-CRLF": ("blocks crlf", 26, False),
    "lines-single": ("lines", 26, True),
    "lines": ("lines", 26, False),
    "lines-1000": ("lines", 1000, False),
    "state": ("state", 26, False),
}


def main() -> int:
    """Measure, and print a table; return the exit status."""
    arguments = _arguments()
    names = arguments.only.split(",") if arguments.only else list(_ROWS)
    with ExitStack() as stack:
        earlier = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        command = ["git", "-C", _CHECKOUT, "archive", arguments.commit, *_SOURCES]
        archive = subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(earlier, filter="data")
        trees = [earlier, _CHECKOUT, earlier]
        coders = [stack.enter_context(_Coding(tree)) for tree in trees]
        print(
            f"{'':20}{'before, us/line':>16}{'now':>10}{'now / before':>14}{'again / before':>16}"
        )
        for name in names:
            figures: list[list[float]] = [[] for _ in coders]
            for repetition in range(arguments.repeat):
                for i in (0, 1, 2) if repetition % 2 else (2, 1, 0):
                    figures[i].append(coders[i].measured(name, arguments.seconds))
            before, now, _ = map(median, figures)
            ratios = [
                median(ours / theirs for ours, theirs in zip(column, figures[0], strict=True))
                for column in figures[1:]
            ]
            print(
                f"{name:20}{before * 1e6:16.3f}{now * 1e6:10.3f}{ratios[0]:14.3f}{ratios[1]:16.3f}",
                flush=True,
            )
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("commit", help="whatever Git takes for one, such as v0.1.0 or HEAD~20")
    parser.add_argument("--repeat", type=int, default=15, metavar="N", help="repetitions [15]")
    parser.add_argument(
        "--seconds", type=float, default=0.1, metavar="S", help="of each measurement [0.1]"
    )
    parser.add_argument("--only", metavar="ROW,...", help=f"of {', '.join(_ROWS)}")
    return parser.parse_args()


class _Coding:
    """A process that codes with what a tree has."""

    def __init__(self, tree: Path) -> None:
        path = os.pathsep.join(str(tree / source) for source in _SOURCES)
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, __file__, "--code"],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> _Coding:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def measured(self, row: str, seconds: float) -> float:
        """Return how many seconds of the processor a line takes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(f"{seconds} {row}", file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())


def _code() -> None:
    """Code each row that is asked for, and print what a line took."""
    from cipherecho.host.memory import raise_mmap_threshold

    raise_mmap_threshold()  # as the server does
    coding: dict[str, Callable[[], int]] = {}
    for line in sys.stdin:
        duration, _, row = line.strip().partition(" ")
        if row not in coding:
            coding[row] = _coding_of(*_ROWS[row])
            coding[row]()
        lines, step = 0, coding[row]
        begin = process_time()
        while (now := process_time()) - begin < float(duration):
            lines += step()
        print((now - begin) / lines, flush=True)


def _coding_of(kind: str, size: int, is_single: bool) -> Callable[[], int]:
    """Return what codes some lines as the server would, and says how many."""
    # Not at the top, since this process has its modules from whichever tree it measures.
    from cipherecho.connections.offload.slow_ciphers import SlowCipherDetector
    from cipherecho.session import ReplyMode, Session

    name, *options = kind.split()
    ending = b"\r\n" if "crlf" in options else b"\n"
    line = (_TEXT * (size // len(_TEXT) + 1))[: size - len(ending)] + ending
    cipher = _cipher(name)
    session = Session(cipher, reply=ReplyMode.CIPHER if "cipher" in options else ReplyMode.BOTH)

    class Patient(SlowCipherDetector):
        """Does not take a pause of the machine for the cipher's."""

        def _stay_away(self, now: float, seconds: float) -> None:
            pass

    pace = Patient(cipher)
    pace.learn(1e-7, 10_000)  # that it is quick
    timed = getattr(pace, "answer", None) or pace.time  # as it was called earlier, and is now
    receives = [line] * 200 if is_single else [line * (_BULK_BYTES // size)]

    def step() -> int:
        before = session.lines
        for data in receives:
            if name == "table":
                session.receive(data)
            else:
                timed(session, session.receive, data)
            while session.has_more:
                if session.due <= pace.turn():
                    timed(session, session.resume)
                else:  # after a pause of the machine
                    session.answer_next(pace.piece())
                    pace.learn(1e-6, 100)
        return session.lines - before

    return step


def _cipher(name: str) -> Any:
    from cipherecho.rot13 import Rot13

    if name == "table":
        return Rot13()
    if name == "vigenere":
        from cipherecho_classical.vigenere import Vigenere

        return Vigenere("LEMON")
    return {"blocks": _InBlocks, "lines": _InLines, "state": _WithState}[name]()


# Ciphers that do next to nothing themselves.


class _InLines:
    def encrypt(self, body: bytes) -> bytes:
        return body.swapcase()


class _WithState:
    def encryptor(self) -> Any:
        return _Counting()


class _Counting:
    def __init__(self) -> None:
        self.lines = 0

    def __call__(self, body: bytes) -> bytes:
        self.lines += 1
        return body.swapcase()


class _InBlocks:
    def encryptor(self) -> Any:
        return _Blocks()


class _Blocks:
    def __call__(self, body: bytes) -> bytes:
        return body.swapcase()

    def block(self, text: bytes) -> tuple[bytes, dict[int, str]]:
        return text.swapcase(), {}


if __name__ == "__main__":
    if sys.argv[1:] == ["--code"]:
        _code()
    else:
        sys.exit(main())
