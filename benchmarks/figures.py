"""Figures out of samples: medians, ratios, and whether the bars are met."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from measurements import IMPORT_TRIO, TR
from servers import BASELINE, BASELINE_MALLOC, GUEST, OURS, WATCHED
from sharing import SCENARIOS

# Below this share of a core, the server had to wait for the load.
BUSY_ENOUGH = 0.9

# Above this share of the time, something else on the server's core is worth a word.
DISTURBED = 0.05

# What three repetitions can't tell from 1.
_SAME = 1.05


@dataclass(frozen=True)
class Sample:
    """What one measurement of one contestant gave."""

    row: str
    name: str
    repetition: int
    figures: dict[str, float]


@dataclass
class Samples:
    """All that was measured."""

    all: list[Sample] = field(default_factory=list)

    def has(self, row: str, name: str) -> bool:
        return any(self._of(row, name))

    def median(self, row: str, name: str, figure: str) -> float:
        return statistics.median(s.figures[figure] for s in self._of(row, name))

    def spread(self, row: str, name: str, figure: str) -> tuple[float, float]:
        """Return the least and the most."""
        values = [s.figures[figure] for s in self._of(row, name)]
        return min(values), max(values)

    def ratio(self, row: str, name: str, figure: str, to: str) -> float | None:
        """Return the median of the ratios within each repetition; None if there is none.

        What slows the whole machine for a while drops out of these.
        """
        bases = {s.repetition: s.figures[figure] for s in self._of(row, to)}
        ratios = [
            s.figures[figure] / bases[s.repetition]
            for s in self._of(row, name)
            if bases.get(s.repetition)
        ]
        return statistics.median(ratios) if ratios else None

    def more(self, row: str, name: str, figure: str, than: str) -> float | None:
        """Return the median of the differences within each repetition; None if there is none."""
        bases = {s.repetition: s.figures[figure] for s in self._of(row, than)}
        differences = [
            s.figures[figure] - bases[s.repetition]
            for s in self._of(row, name)
            if s.repetition in bases
        ]
        return statistics.median(differences) if differences else None

    def load_was_limit(self, row: str, name: str) -> bool:
        """Return whether the server had nothing to do for a good part of the time."""
        shares = self._shares(row, name, ["server_busy", "server_waited"])
        return bool(shares) and statistics.median(shares) < BUSY_ENOUGH

    def was_disturbed(self, row: str, name: str) -> bool:
        """Return whether something else had the server's core for a while.

        Of a server of many processes, they may have had it from each other.
        """
        shares = self._shares(row, name, ["server_waited"])
        return bool(shares) and statistics.median(shares) > DISTURBED

    def _shares(self, row: str, name: str, figures: Sequence[str]) -> list[float]:
        of = [s.figures for s in self._of(row, name) if "server_busy" in s.figures]
        return [sum(sample[figure] for figure in figures) for sample in of]

    def _of(self, row: str, name: str) -> list[Sample]:
        return [s for s in self.all if (s.row, s.name) == (row, name)]


@dataclass(frozen=True)
class Bar:
    """What cipherecho, or `of` another contestant, has to reach (`bar`), and should (`goal`).

    Against a contestant, they bound the ratio to it, or how much `more` it is; against None,
    the figure itself.
    """

    what: str
    row: str
    figure: str
    against: str | None
    bar: float | None
    goal: float | None
    more_is_better: bool = False
    of: str = OURS
    more: bool = False


def _round_trip(connections: int) -> list[Bar]:
    what, row = f"CPU per round trip, {connections} connections", f"roundtrip-{connections}"
    return [
        Bar(what, row, "cpu_us", BASELINE, 1.15, 1.0),
        Bar(what, row, "cpu_us", "uvloop-streams", 0.7, None),
        Bar(what, row, "cpu_us", "epoll", 1.75, None),
        Bar(what, row, "cpu_us", "go", None, 1.0),
        Bar(f"{what}, with metrics", row, "cpu_us", OURS, _SAME, None, of=WATCHED),
    ]


def _tls(connections: int) -> list[Bar]:
    what, row = f"CPU per round trip over TLS, {connections} connections", f"tls-{connections}"
    return [
        Bar(what, row, "cpu_us", BASELINE, 1.0, None),
        Bar(what, row, "cpu_us", BASELINE_MALLOC, 1.0, None),
    ]


def _pipelined(line_bytes: int) -> list[Bar]:
    what, row = f"lines a second, {line_bytes} bytes", f"pipelined-{line_bytes}"
    bars = [
        Bar(what, row, "per_s", BASELINE, 0.9, None, more_is_better=True),
        Bar(what, row, "per_s", "go", None, 1.0, more_is_better=True),
    ]
    if line_bytes == 26:
        bars.insert(1, Bar(what, row, "per_s", "uvloop-streams", 20, None, more_is_better=True))
    return bars


def _guest() -> list[Bar]:
    """Return what a cipher in WebAssembly may cost beside the same one that is native."""
    what = "ROT13 in WebAssembly"
    rows = [f"pipelined-{line_bytes}" for line_bytes in (26, 100, 1000)]
    return [
        *(
            Bar(f"{what}: {row}", row, "per_s", OURS, 0.3, None, more_is_better=True, of=GUEST)
            for row in rows
        ),
        Bar(
            f"{what}: more CPU us per round trip, 50 connections",
            *("roundtrip-50", "cpu_us", OURS, 80, None),
            of=GUEST,
            more=True,
        ),
        Bar(
            f"{what}: more us of latency, 1 connection",
            *("roundtrip-1", "p50_us", OURS, 80, None),
            of=GUEST,
            more=True,
        ),
        Bar(f"{what}: bytes per idle connection", "memory", "bytes", None, 204_800, None, of=GUEST),
    ]


def _sharing() -> list[Bar]:
    """Return how long clients may wait while others keep a cipher busy."""
    bars = []
    for name, scenario in SCENARIOS.items():
        what = f"p99 in ms beside {scenario.title}"
        bars.append(Bar(f"{what}: a table's", "sharing", "table_p99_ms", None, 50, None, of=name))
        if scenario.bar_ms is not None:
            same = "same_p99_ms"
            bars.append(
                Bar(f"{what}: the cipher's", "sharing", same, None, scenario.bar_ms, None, of=name)
            )
    return bars


BARS = [
    *_round_trip(50),
    *_round_trip(500),
    *_tls(50),
    *_tls(500),
    Bar("p99.9 latency, 500 connections", "roundtrip-500", "p99.9_us", BASELINE, 1.0, None),
    Bar("p99.9 latency, 500 connections", "roundtrip-500", "p99.9_us", "epoll", None, 1.5),
    *_pipelined(26),
    *_pipelined(100),
    *_pipelined(1000),
    *_guest(),
    Bar("bytes of memory per idle connection", "memory", "bytes", None, 2048, 1024),
    Bar("connections a second", "churn", "per_s", BASELINE, 1.0, None, more_is_better=True),
    Bar("CPU per round trip, many connections / 100", "scale", "growth", None, 1.3, 1.1),
    Bar("start to first reply, wall", "start", "wall_ms", IMPORT_TRIO, 2.0, 1.3),
    Bar("start to first reply, CPU", "start", "cpu_ms", IMPORT_TRIO, 2.0, 1.3),
    *_sharing(),
    Bar("apply, wall", "apply", "wall_s", TR, 2.0, 1.3),
    Bar("apply, CPU", "apply", "cpu_s", TR, 2.0, 1.3),
]


def measured(samples: Samples, bars: Sequence[Bar] = BARS) -> list[tuple[Bar, float]]:
    """Return the bars that something was measured for, each with what it bounds."""
    found = []
    for bar in bars:
        if bar.against is not None and bar.more:
            value = samples.more(bar.row, bar.of, bar.figure, bar.against)
        elif bar.against is not None:
            value = samples.ratio(bar.row, bar.of, bar.figure, bar.against)
        elif samples.has(bar.row, bar.of):
            value = samples.median(bar.row, bar.of, bar.figure)
        else:
            value = None
        if value is not None:
            found.append((bar, value))
    return found


def meets(bar: Bar, value: float, bound: float) -> bool:
    """Return whether a value is on the right side of a bar or goal, or on it."""
    return value >= bound if bar.more_is_better else value <= bound
