#!/usr/bin/env python3
"""Measure cipherecho beside its peers: the one command of the benchmarks."""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import hotspots
import machine
import report
from figures import Sample, Samples
from loading import MeasurementError, Settings
from measurements import Row, rows, write_text
from prepare import CHECKOUT, HERE, SetupError, Tools, prepare
from processes import cores
from servers import BASELINE, OURS, CannotStartError, Server, servers

_ROWS = [
    *("roundtrip-1", "roundtrip-50", "roundtrip-500", "tls-50", "tls-500"),
    *("scale", "pipelined-26", "pipelined-100", "pipelined-1000"),
    *("memory", "tls-memory", "churn", "start", "sharing", "apply"),
]

# Beside the connections, a process has a few descriptors of its own.
_SPARE_DESCRIPTORS = 200

_EXAMPLES = """\
examples:
  python3 benchmarks/run.py                             everything; about twenty minutes
  python3 benchmarks/run.py --quick                     the same in little, to see that it works
  python3 benchmarks/run.py --only roundtrip,churn      some rows
  python3 benchmarks/run.py --peers go,epoll --repeat 5 some peers, more often
  python3 benchmarks/run.py --profile                   where cipherecho's time goes
"""


def main() -> int:
    """Prepare, measure, report; return the exit status."""
    arguments = _arguments()
    # Ending in order ends every process that was started.
    signal.signal(signal.SIGTERM, interrupt)
    try:
        settings = _settings(arguments)
        tools = prepare(arguments.python, profiler=arguments.profile)
        found = _chosen(servers(tools), arguments.peers)
        arguments.output.mkdir(parents=True, exist_ok=True)
        if arguments.profile:
            return hotspots.profile(found[0], tools, settings, arguments.output)
        return _measure(arguments, tools, settings, found)
    except (SetupError, OSError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("run.py: interrupted; nothing is written", file=sys.stderr)
        return 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure cipherecho beside its peers, on the loopback, in one interleaved run. "
        "What is needed is set up first: a virtual environment, and programs in C and Go.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="short measurements, too noisy to be quoted"
    )
    parser.add_argument(
        "--repeat", type=int, metavar="N", help="repetitions of everything [3; quick: 1]"
    )
    parser.add_argument(
        "--only",
        metavar="ROW,...",
        help=f"rows, or all that begin alike (roundtrip): {', '.join(_ROWS)}",
    )
    parser.add_argument(
        "--peers", metavar="NAME,...", help=f"peers beside {OURS} and {BASELINE} [all]"
    )
    parser.add_argument(
        "--python", default=sys.executable, metavar="PATH", help="the interpreter [this one]"
    )
    parser.add_argument(
        "--text-mb", type=int, metavar="MB", help="size of the text for apply [1000; quick: 100]"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=HERE / "results",
        metavar="DIR",
        help="where the results go [benchmarks/results]",
    )
    parser.add_argument(
        "--profile", action="store_true", help="show where cipherecho's time goes, and stop"
    )
    arguments = parser.parse_args()
    if arguments.repeat is not None and arguments.repeat < 1:
        parser.error(f"--repeat: got {arguments.repeat}, expected 1 or more")
    for name in names(arguments.only):
        if not any(is_in(row, [name]) for row in _ROWS):
            parser.error(f"--only: there is no row {name!r}; there are {', '.join(_ROWS)}")
    if arguments.repeat is None:
        arguments.repeat = 1 if arguments.quick else 3
    if arguments.text_mb is None:
        arguments.text_mb = 100 if arguments.quick else 1000
    return arguments


def names(listed: str | None) -> list[str]:
    return [name.strip() for name in (listed or "").split(",") if name.strip()]


def is_in(row: str, names: Sequence[str]) -> bool:
    """Return whether a row is one of those named, or of a family of rows that is."""
    return row in names or row.rpartition("-")[0] in names


def _settings(arguments: argparse.Namespace) -> Settings:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    many = 1000 if arguments.quick else 10_000
    if many > hard - _SPARE_DESCRIPTORS:
        many = hard - _SPARE_DESCRIPTORS
        _say(f"the limit of open files allows {many} connections, so that is what many are")
    return Settings(
        cores=cores(),
        warmup=0.1 if arguments.quick else 0.4,
        seconds=0.2 if arguments.quick else 1.5,
        many=many,
        starts=2 if arguments.quick else 5,
        text=Path(),
    )


def _chosen(found: Sequence[Server], peers: str | None) -> list[Server]:
    chosen = names(peers)
    if unknown := set(chosen) - {server.name for server in found}:
        available = ", ".join(server.name for server in found)
        raise SetupError(f"there is no peer {unknown.pop()!r} here; there are {available}")
    wanted = {OURS, BASELINE, *chosen}
    return [server for server in found if not chosen or server.name in wanted]


def _measure(
    arguments: argparse.Namespace, tools: Tools, settings: Settings, found: Sequence[Server]
) -> int:
    began = time.monotonic()
    only = names(arguments.only)
    with tempfile.TemporaryDirectory(prefix="cipherecho-benchmarks-") as folder:
        text = Path(folder) / "text"
        settings = Settings(**{**vars(settings), "text": text})
        todo = [row for row in rows(found, tools, settings) if not only or is_in(row.name, only)]
        if any(row.name == "apply" for row in todo):
            _write_text(text, arguments.text_mb * 1_000_000)
        samples, left_out = take_all(todo, arguments.repeat)
    titles = {server.name: server.title for server in found}
    for row in todo:
        for contestant in row.contestants:
            titles.setdefault(contestant.name, contestant.title)
    _write(arguments, tools, settings, samples, titles, left_out)
    _say(f"it took {(time.monotonic() - began) / 60:.1f} minutes")
    return 0 if samples.all else 1


def _write_text(path: Path, size: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < 1.1 * size:
        raise SetupError(
            f"{path.parent} has {free / 1e9:.1f} GB free, and the text for apply needs "
            f"{size / 1e9:.1f}: set TMPDIR to a folder with more, or take a smaller --text-mb"
        )
    write_text(path, size)


def take_all(todo: Sequence[Row], repeat: int) -> tuple[Samples, list[str]]:
    """Measure all rows, over and over, each with all contestants in turn.

    Who comes first changes from repetition to repetition. Who fails in a row is left out of it
    from then on; the second part of what is returned says why.
    """
    samples = Samples()
    failed: dict[tuple[str, str], str] = {}
    for repetition in range(repeat):
        for row in todo:
            first = repetition * len(row.contestants) // repeat
            for contestant in [*row.contestants[first:], *row.contestants[:first]]:
                if (row.name, contestant.name) in failed:
                    continue
                said = f"{repetition + 1}/{repeat} {row.name}, {contestant.title}: "
                try:
                    taken = contestant.take()
                except (MeasurementError, CannotStartError, OSError) as error:
                    failed[row.name, contestant.name] = (
                        f"{contestant.title} of {row.name}: {_without_paths(str(error))}"
                    )
                    _say(f"{said}left out: {error}")
                    continue
                samples.all.append(Sample(row.name, contestant.name, repetition, taken))
                _say(said + _progress(taken))
    # A row is of what all its repetitions gave.
    samples.all = [s for s in samples.all if (s.row, s.name) not in failed]
    return samples, list(failed.values())


def _without_paths(complaint: str) -> str:
    """Return what may be published of a complaint: on one line, and not where things are."""
    for folder in (CHECKOUT, Path.home()):
        complaint = complaint.replace(str(folder), "…")
    return " ".join(complaint.split())[-300:]


def _progress(taken: dict[str, float]) -> str:
    return ", ".join(f"{name} {report.shown(value)}" for name, value in taken.items())


def _write(
    arguments: argparse.Namespace,
    tools: Tools,
    settings: Settings,
    samples: Samples,
    titles: dict[str, str],
    left_out: list[str],
) -> None:
    """Write the JSON, the report and the chart, and print the report."""
    date = datetime.now(UTC).date().isoformat()
    command = _command(arguments)
    facts = machine.description(tools)
    results = {
        "date": date,
        "command": command,
        "machine": facts,
        "settings": {
            "repeat": arguments.repeat,
            "warmup_s": settings.warmup,
            "seconds": settings.seconds,
            "many_connections": settings.many,
            "starts": settings.starts,
            "text_bytes": arguments.text_mb * 1_000_000,
        },
        "ours": OURS,
        "baseline": BASELINE,
        "titles": titles,
        "left_out": left_out,
        "samples": [vars(sample) for sample in samples.all],
    }
    words = report.markdown(samples, titles, facts, left_out, date=date, command=command)
    stored = arguments.output / "results.json"
    stored.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    (arguments.output / "results.md").write_text(words)
    print(words)
    rows_drawn = {"roundtrip-50", "pipelined-26"}
    if rows_drawn <= {sample.row for sample in samples.all}:
        drawn = arguments.output / "chart.svg"
        subprocess.run(  # noqa: S603
            [str(tools.python), str(HERE / "chart.py"), str(stored), str(drawn)], check=False
        )
    _say(f"results.json, results.md and the chart are in {arguments.output}")


def _command(arguments: argparse.Namespace) -> str:
    """Return the command that reproduces the run, without the caller's paths."""
    parts = ["python3 benchmarks/run.py"]
    if arguments.quick:
        parts.append("--quick")
    if arguments.repeat != (1 if arguments.quick else 3):
        parts.append(f"--repeat {arguments.repeat}")
    if arguments.text_mb != (100 if arguments.quick else 1000):
        parts.append(f"--text-mb {arguments.text_mb}")
    for option in ("only", "peers"):
        if given := names(getattr(arguments, option)):
            parts.append(f"--{option} {','.join(given)}")
    return " ".join(parts)


def interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
