"""The report: tables in Markdown, which are as readable on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from figures import BARS, BUSY_ENOUGH, DISTURBED, Samples, measured, meets
from measurements import IMPORT_TRIO, TR
from servers import BASELINE

_LIMIT, _DISTURBED = "°", "!"


@dataclass(frozen=True)
class _Column:
    title: str
    row: str
    figure: str
    relative: bool = True  # to the baseline, in the table of ratios


_COLUMNS = [
    _Column("p50 µs, 1", "roundtrip-1", "p50_us"),
    _Column("CPU µs, 50", "roundtrip-50", "cpu_us"),
    _Column("CPU µs, 500", "roundtrip-500", "cpu_us"),
    _Column("p99.9 µs, 500", "roundtrip-500", "p99.9_us"),
    _Column("lines/s, 26 B", "pipelined-26", "per_s"),
    _Column("lines/s, 100 B", "pipelined-100", "per_s"),
    _Column("lines/s, 1000 B", "pipelined-1000", "per_s"),
    _Column("idle bytes", "memory", "bytes"),
    _Column("conns/s", "churn", "per_s"),
    _Column("CPU µs/conn", "churn", "cpu_us"),
    _Column("growth", "scale", "growth", relative=False),
]

_TLS_COLUMNS = [
    _Column("CPU µs, 50", "tls-50", "cpu_us"),
    _Column("CPU µs, 500", "tls-500", "cpu_us"),
    _Column("p99.9 µs, 500", "tls-500", "p99.9_us"),
    _Column("idle bytes", "tls-memory", "bytes"),
]


def markdown(
    samples: Samples,
    titles: Mapping[str, str],
    facts: Mapping[str, object],
    left_out: Iterable[str],
    *,
    date: str,
    command: str,
) -> str:
    """Return the report: ratios, then absolute figures, then bars and goals."""
    about = ", ".join(f"{name} {value}" for name, value in facts.items())
    parts = [
        f"# Figures of {date}",
        f"By `{command}`. {about}.",
        "## Ratios",
        f"To `{titles.get(BASELINE, BASELINE)}`, in the same repetition; the median. Latency with "
        "one connection, CPU per round trip at 50 and 500 connections, p99.9 latency at 500, lines "
        "a second with many in flight, "
        "memory per idle connection, connections a second and CPU for each. Growth is the CPU per "
        "round trip at many connections (10,000 in a full run) divided by that at 100. Over TLS, "
        "all have the same cipher suite and certificate.",
        _servers(samples, titles, ratios=True),
        "## Figures",
        _servers(samples, titles, ratios=False),
        f"{_LIMIT} The load was the limit, or a pause in the protocol, such as Nagle's algorithm "
        f"in ncat: the server had work for less than {BUSY_ENOUGH:.0%} of the time. It could do "
        "more a second, and take a little less CPU for each.\n\n"
        f"{_DISTURBED} Other processes had the server's core for more than {DISTURBED:.0%} of the "
        "time (with ncat and socat, these are their own): what is a second is less than it was.",
        _processes(samples, titles),
        "## Bars and goals",
        _bars(samples, titles),
    ]
    if left := list(left_out):
        parts += ["## Left out", "\n".join(f"- {reason}" for reason in left)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _servers(samples: Samples, titles: Mapping[str, str], *, ratios: bool) -> str:
    tables = [
        _columns(heading, columns, samples, titles, ratios=ratios)
        for heading, columns in (("", _COLUMNS), ("over TLS", _TLS_COLUMNS))
    ]
    return "\n\n".join(table for table in tables if table)


def _columns(
    heading: str,
    columns: Sequence[_Column],
    samples: Samples,
    titles: Mapping[str, str],
    *,
    ratios: bool,
) -> str:
    columns = [c for c in columns if any(samples.has(c.row, name) for name in titles)]
    lines = []
    for name, title in titles.items():
        cells = [_cell(samples, column, name, ratios=ratios) for column in columns]
        if any(cells):
            lines.append([title, *cells])
    return table([heading, *(c.title for c in columns)], lines) if lines else ""


def _cell(samples: Samples, column: _Column, name: str, *, ratios: bool) -> str:
    if not samples.has(column.row, name):
        return ""
    mark = _LIMIT if samples.load_was_limit(column.row, name) else ""
    mark += _DISTURBED if samples.was_disturbed(column.row, name) else ""
    if not ratios or not column.relative:
        return shown(samples.median(column.row, name, column.figure)) + mark
    ratio = samples.ratio(column.row, name, column.figure, BASELINE)
    return "" if ratio is None else shown(ratio) + mark


def _processes(samples: Samples, titles: Mapping[str, str]) -> str:
    """Return the tables of what is measured as a process of its own."""
    tables = []
    for row, base, figures in (
        ("start", IMPORT_TRIO, {"wall ms": "wall_ms", "CPU ms": "cpu_ms"}),
        ("apply", TR, {"wall s": "wall_s", "CPU s": "cpu_s"}),
    ):
        lines = []
        for name, title in titles.items():
            if not samples.has(row, name):
                continue
            ratios = [samples.ratio(row, name, figure, base) for figure in figures.values()]
            medians = [samples.median(row, name, figure) for figure in figures.values()]
            cells = ["" if ratio is None else shown(ratio) for ratio in ratios]
            lines.append([title, *cells, *map(shown, medians)])
        if lines:
            over = [f"{figure.split()[0]} / {titles.get(base, base)}" for figure in figures]
            tables.append(table([row, *over, *figures], lines))
    return "\n\n".join(filter(None, [*tables, _sharing(samples, titles)]))


def _sharing(samples: Samples, titles: Mapping[str, str]) -> str:
    """Return how long clients wait while others keep a cipher busy."""
    figures = {
        "a table's p99 ms": "table_p99_ms",
        "max ms": "table_max_ms",
        "the cipher's p50 ms": "same_p50_ms",
        "p99 ms": "same_p99_ms",
    }
    lines = [
        [
            title,
            *(shown(samples.median("sharing", name, figure)) for figure in figures.values()),
        ]
        for name, title in titles.items()
        if samples.has("sharing", name)
    ]
    return table(["a client beside", *figures], lines) if lines else ""


def _bars(samples: Samples, titles: Mapping[str, str]) -> str:
    lines = []
    for bar, value in measured(samples, BARS):
        sign = "≥" if bar.more_is_better else "≤"
        cells = [bar.what, titles.get(bar.against or "", bar.against or "itself"), shown(value)]
        for bound in (bar.bar, bar.goal):
            if bound is None:
                cells += ["", ""]
            else:
                cells += [f"{sign} {bound:g}", "met" if meets(bar, value, bound) else "**missed**"]
        lines.append(cells)
    return table(["", "against", "is", "bar", "", "goal", ""], lines) if lines else ""


def shown(value: float) -> str:
    """Return a figure with three digits that count."""
    if value >= 1000:
        return f"{value:,.0f}"
    for bound, digits in ((100, 0), (10, 1), (0.1, 2)):
        if value >= bound:
            return f"{value:.{digits}f}"
    return f"{value:.3f}"


def table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in [heading, *lines]) for i in range(len(heading))]

    def row(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([row(heading), row(rule), *map(row, lines)])
