"""Reads the settings file: TOML, with the line of each key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cipherecho.cli.configuration.problems import SettingsError
from cipherecho.printable import safe_text
from cipherecho.settings.file_contents import Contents, read_file

__all__ = ["LISTENER", "SettingsFile", "read_settings_file"]

LISTENER = "listener"
"""The name of the tables for listeners."""

_POSITION = re.compile(r" \(at line (?P<line>\d+), column (?P<column>\d+)\)$")


@dataclass(frozen=True)
class SettingsFile:
    """The contents of a settings file, and the line of each key.

    The tables of listeners count from 1; None is the part before all tables.
    """

    path: Path
    document: Mapping[str, Any]
    lines: Mapping[tuple[int | None, str], int]
    contents: Contents
    """The whole file, to find out later whether it has changed."""

    def where(self, key: str = "", table: int | None = None) -> str:
        """Return ``FILE:LINE: [[listener]] N: KEY``, without what is not known or not given.

        The line of a key that is not there is that of the table where it should be.
        """
        places = [(table, key), *([(table, ""), (None, LISTENER)] if table else [])]
        line = next((self.lines[place] for place in places if place in self.lines), None)
        parts = [f"{self.path}:{line}" if line else str(self.path)]
        parts += [f"[[{LISTENER}]] {table}"] if table else []
        return ": ".join([*parts, key] if key else parts)


def read_settings_file(path: Path) -> SettingsFile:
    """Return what is in the TOML file `path`, which may be a pipe.

    Raises:
      SettingsError: it can't be read, or is not TOML.
    """
    import tomllib  # not for those who have no file

    try:
        # Line ends as TOML has them, so that lines are counted alike here and there.
        contents = read_file(path)
        # Editors of Windows begin it with a byte order mark.
        text = contents.data.decode("utf-8-sig").replace("\r\n", "\n")
        return SettingsFile(path, tomllib.loads(text), dict(_lines(text)), contents)
    except OSError as error:
        raise SettingsError([f"{path}: {error.strerror}"]) from error
    except RecursionError as error:
        raise SettingsError([f"{path}: expected fewer brackets within brackets"]) from error
    except ValueError as error:  # not UTF-8, not TOML, or a number of too many digits
        position = _POSITION.search(str(error))
        where = f":{position['line']}:{position['column']}" if position else ""
        raise SettingsError([f"{path}{where}: {_POSITION.sub('', safe_text(error))}"]) from error


def _lines(text: str) -> Iterator[tuple[tuple[int | None, str], int]]:
    """Yield the first line of every key of a valid document, and of every listener.

    The parser has no positions. But a key with its value, the name of a table, a comment
    and a blank line are each a document of their own.
    """
    import tomllib

    table: int | None = None
    elsewhere = False  # in a table that should not be there
    for line, written in _statements(text):
        statement = tomllib.loads(written)
        if not written.lstrip().startswith("["):
            if not elsewhere:
                yield from (((table, key), line) for key in statement)
        elif statement == {LISTENER: [{}]}:
            table, elsewhere = (table or 0) + 1, False
            yield (table, ""), line
        else:
            elsewhere = True
            yield from (((None, key), line) for key in statement)


# All that brackets and line ends may stand in without a meaning, and those that have one. A string
# of several lines ends in three quotes, and may have two of its own before them. (Possessive
# repetitions, which would say that nothing here is ambiguous, are at fault in Python 3.11.2.)
_TOKEN = re.compile(
    r"""
    (?P<inert>
        "{3} (?: [^"\\] | \\. | "{1,2}(?!") )* "{3,5}
      | '{3} (?: [^'] | '{1,2}(?!') )* '{3,5}
      | " (?: [^"\\\n] | \\. )* "
      | ' [^'\n]* '
      | \# [^\n]*
    )
    | (?P<open> [\[{] ) | (?P<close> [\]}] ) | (?P<end> \n )
    """,
    re.VERBOSE | re.DOTALL,
)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement of a valid document, up to its line end, and its first line.

    Each is looked at once, however many lines it has.
    """
    depth, begin, line = 0, 0, 1
    for token in _TOKEN.finditer(f"{text}\n"):
        if token["open"]:
            depth += 1
        elif token["close"]:
            depth -= 1
        elif token["end"] and depth == 0:
            statement = text[begin : token.end()]
            yield line, statement
            begin, line = token.end(), line + statement.count("\n")
