"""The chart: ``chart.py RESULTS.json CHART.svg``, in the virtual environment with matplotlib.

Two panels: processor time per round trip, relative to the bare uvloop ``Protocol``, and lines a
second with many in flight.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

_OURS, _PEER, _BASE, _INK = "#0b7a75", "#a9b4c2", "#6b7a8f", "#1f2933"


def draw(results: dict[str, Any], to: Path) -> None:
    """Write the chart of a run's results; the ending of the name chooses the format."""
    mpl.rcParams.update(
        {
            "font.size": 9,
            "text.color": _INK,
            "axes.labelcolor": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "svg.hashsalt": "cipherecho",  # the same figures give the same file
        }
    )
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.4), layout="constrained")
    figure.get_layout_engine().set(wspace=0.04, rect=(0.004, 0.01, 0.992, 0.98))
    _bars(
        left,
        _values(results, "roundtrip-50", "cpu_us", relative=True),
        results,
        "Server CPU per round trip, 50 connections",
        "uvloop Protocol = 1; less is better",
        "{:.2f}",
    )
    left.axvline(1, color=_BASE, linewidth=0.8, linestyle="--", zorder=0)
    _bars(
        right,
        _values(results, "pipelined-26", "per_s", relative=False, scale=1e-6),
        results,
        "Lines a second, pipelined, 26 bytes",
        "millions; more is better",
        "{:.2f}",
        descending=True,
    )
    figure.supxlabel(
        f"{results['date']}, {results['machine']['processor']}, one core for the server, "
        f"Python {results['machine']['python'].split()[-1]}; medians of "
        f"{results['settings']['repeat']}, interleaved.\nReproduce with: {results['command']}",
        fontsize=8,
        color=_BASE,
    )
    figure.savefig(to, facecolor="white", metadata={"Date": None} if to.suffix == ".svg" else None)


def _values(
    results: dict[str, Any], row: str, figure: str, *, relative: bool, scale: float = 1
) -> dict[str, float]:
    """Return the median for each contestant of a row, by name."""
    by_name: dict[str, dict[int, float]] = {}
    for sample in results["samples"]:
        if sample["row"] == row:
            of = by_name.setdefault(sample["name"], {})
            of[sample["repetition"]] = scale * sample["figures"][figure]
    base = by_name.get(results["baseline"], {})
    values = {}
    for name, of in by_name.items():
        if not relative:
            values[name] = statistics.median(of.values())
        elif ratios := [value / base[r] for r, value in of.items() if r in base]:
            values[name] = statistics.median(ratios)
    return values


def _bars(
    axes: Axes,
    values: dict[str, float],
    results: dict[str, Any],
    title: str,
    unit: str,
    form: str,
    *,
    descending: bool = False,
) -> None:
    """Draw one bar for each contestant, the best one on top."""
    order = sorted(values, key=values.__getitem__, reverse=not descending)
    colours = [
        _OURS if name == results["ours"] else _BASE if name == results["baseline"] else _PEER
        for name in order
    ]
    bars = axes.barh([results["titles"][name] for name in order], [values[n] for n in order])
    for bar, colour in zip(bars, colours, strict=True):
        bar.set_color(colour)
    labels = axes.bar_label(bars, [form.format(values[name]) for name in order], padding=3)
    for label in labels:  # legible where the line of the baseline is behind it
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    for label, name in zip(axes.get_yticklabels(), order, strict=True):
        label.set_fontweight("bold" if name == results["ours"] else "normal")
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel(unit)
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
