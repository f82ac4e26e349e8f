#!/usr/bin/env python3
"""Compare cipherecho as it is here with an earlier commit, measured in turn on the same core.

The earlier one takes part twice, and what it differs from itself by is the noise.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import report
from figures import Samples
from loading import Settings
from measurements import rows
from prepare import SetupError, prepare, revision
from processes import cores
from run import interrupt, is_in, names, take_all
from servers import OURS, servers

_ROWS = [
    *("roundtrip-1", "roundtrip-50", "roundtrip-500", "tls-50"),
    *("pipelined-26", "pipelined-100", "pipelined-1000"),
    *("memory", "churn", "start"),
]

# What a row is judged by: the server's processor time, for whatever is counted, or else this.
_FIGURES = {"memory": "bytes", "start": "cpu_ms"}
_FIGURE = "cpu_us"

_BEFORE, _AGAIN = "before", "before-again"


def main() -> int:
    """Measure, and print a table; return the exit status."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, interrupt)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    settings = Settings(
        cores=cores(), warmup=0.4, seconds=arguments.seconds, many=10_000, starts=5, text=Path()
    )
    try:
        tools = prepare(sys.executable, profiler=False)
        earlier = revision(sys.executable, arguments.commit)
    except (SetupError, OSError) as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 1
    [now] = [server for server in servers(tools) if server.name == OURS]
    [before] = [
        server for server in servers(replace(tools, cipherecho=earlier)) if server.name == OURS
    ]
    contestants = [
        replace(before, name=_BEFORE, title="before"),
        now,
        replace(before, name=_AGAIN, title="before, again"),
    ]
    only = names(arguments.only) or _ROWS
    todo = [
        replace(row, contestants=[one for one in row.contestants if one.name != "import-trio"])
        for row in rows(contestants, tools, settings)
        if row.name in _ROWS and is_in(row.name, only)
    ]
    samples, left_out = take_all(todo, arguments.repeat)
    print(_table(samples, [row.name for row in todo]))
    for one in left_out:
        print(f"left out: {one}")
    return 1 if left_out else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("commit", help="whatever Git takes for one, such as v0.1.0 or HEAD~20")
    parser.add_argument("--repeat", type=int, default=7, metavar="N", help="repetitions [7]")
    parser.add_argument(
        "--seconds", type=float, default=1.5, metavar="S", help="of each measurement [1.5]"
    )
    parser.add_argument("--only", metavar="ROW,...", help=f"of {', '.join(_ROWS)}")
    return parser.parse_args()


def _table(samples: Samples, of: list[str]) -> str:
    lines = []
    for row in of:
        figure = _FIGURES.get(row, _FIGURE)
        if not all(samples.has(row, name) for name in (_BEFORE, OURS, _AGAIN)):
            continue
        line = [row, figure]
        line += [report.shown(samples.median(row, name, figure)) for name in (_BEFORE, OURS)]
        for name in (OURS, _AGAIN):
            ratio = samples.ratio(row, name, figure, _BEFORE)
            line.append("" if ratio is None else f"{ratio:.3f}")
        lines.append(line)
    heading = ["", "figure", "before", "now", "now / before", "before, again / before"]
    return report.table(heading, lines)


if __name__ == "__main__":
    if shutil.which("git") is None:
        sys.exit("compare.py: there is no git here, and the earlier commit comes from it")
    sys.exit(main())
