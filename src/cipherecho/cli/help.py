"""How ``--help`` is laid out: commands first, then all options in one column."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping

import click

__all__ = ["HelpContext", "hanging", "write_sections"]

_WIDEST_TERM = len("--handshake-timeout SECONDS")
"""A longer term has a line of its own: there are three, and descriptions need the room."""

# A default stays in one line, so that it can be read at a glance.
_DEFAULT = re.compile(r"\[default: [^]]{,40}\]")
_NO_BREAK = "\N{NO-BREAK SPACE}"


def hanging(first: str, text: str, width: int) -> str:
    """Return `first` with a text beside it, in lines of that width; no word is broken."""
    wrapped = textwrap.fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
        break_long_words=False,
    )
    return (wrapped or first).rstrip()


class _Formatter(click.HelpFormatter):
    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write terms and what they mean in two columns; no name is broken at a hyphen."""
        rows = list(rows)
        widest = max((len(term) for term, _ in rows if len(term) <= col_max), default=col_max)
        indent = self.current_indent + widest + col_spacing
        for term, text in rows:
            first = f"{'':{self.current_indent}}{term:{widest}}{'':{col_spacing}}"
            if len(term) > widest:
                self.write(f"{first.rstrip()}\n")
                first = " " * indent
            whole = _DEFAULT.sub(lambda found: found[0].replace(" ", _NO_BREAK), text)
            self.write(f"{hanging(first, whole, self.width).replace(_NO_BREAK, ' ')}\n")


class HelpContext(click.Context):
    """The context of a command whose help is laid out so."""

    formatter_class = _Formatter


def write_sections(
    formatter: click.HelpFormatter, sections: Mapping[str, Iterable[tuple[str, str] | None]]
) -> None:
    """Write a list under each heading; their second columns begin at the same place."""
    for heading, rows in sections.items():
        with formatter.section(heading):
            formatter.write_dl(
                [(f"{term:{_WIDEST_TERM}}", text) for term, text in filter(None, rows)],
                _WIDEST_TERM,
            )
