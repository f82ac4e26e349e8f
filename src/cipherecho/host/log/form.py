"""Formats a log record as a line of text or as a JSON object.

A record's message is a template that names its fields (``"closed: peer=%(peer)s"``), and its only
argument is a mapping of these fields.  The text form puts the fields into the message; JSON keeps
them apart, with their types.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from math import isfinite

from cipherecho.printable import printable, safe_text
from cipherecho.settings.process import LogFormat

__all__ = ["OURS", "formatter_for", "is_journal", "prioritised"]

OURS = "cipherecho"
"""The name of our logger."""

# The most characters of a text record, and of each string in a JSON record.
_LONGEST_TEXT = 1000

# How many lines to keep from each end of a traceback: a plugin can make one of any length.
_MOST_LINES = 100


def formatter_for(
    form: LogFormat, descriptor: int, variables: Mapping[str, str] = os.environ
) -> logging.Formatter:
    """Return the formatter for records that are written to `descriptor`.

    Text has a short time at a terminal and a full date elsewhere.  systemd's journal adds dates
    itself; for the journal, each line starts with its priority instead.
    """
    to_journal = is_journal(descriptor, variables)
    formatter: logging.Formatter
    if form is LogFormat.JSON:
        formatter = _JsonFormatter()
    elif to_journal:
        formatter = _TextFormatter(_Dates.NONE)
    else:
        formatter = _TextFormatter(_Dates.SHORT if os.isatty(descriptor) else _Dates.WHOLE)
    return _JournalFormatter(formatter) if to_journal else formatter


def is_journal(descriptor: int, variables: Mapping[str, str]) -> bool:
    """Return whether `descriptor` is connected to systemd's journal.

    Children inherit ``JOURNAL_STREAM`` even if their standard error goes elsewhere.  So the
    variable contains the device and the inode to compare (systemd.exec(5)).
    """
    stream = variables.get("JOURNAL_STREAM")
    if not stream:
        return False
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


def prioritised(text: str, level: int) -> str:
    r"""Put the journal's priority prefix before each line of `text` (sd-daemon(3)).

    >>> prioritised("it failed\n    because", logging.ERROR)
    '<3>it failed\n<3>    because'
    """
    if level >= logging.CRITICAL:
        prefix = "<2>"
    elif level >= logging.ERROR:
        prefix = "<3>"
    elif level >= logging.WARNING:
        prefix = "<4>"
    elif level >= logging.INFO:
        prefix = "<6>"
    else:
        prefix = "<7>"
    return prefix + text.replace("\n", f"\n{prefix}")


class _Dates(Enum):
    """The date in a text record."""

    NONE = "none: the reader adds one"
    SHORT = "the time of day, for people who watch"
    WHOLE = "date, time with milliseconds, time zone"


class _TextFormatter(logging.Formatter):
    """Formats a record as one line; text from clients can't break out of it."""

    def __init__(self, dates: _Dates) -> None:
        super().__init__()
        self._dates = dates
        self._has_milliseconds = dates is _Dates.WHOLE
        self._date = lru_cache(maxsize=1)(self._date_of)  # many records share a second

    def _date_of(self, second: int) -> tuple[str, str]:
        """Return the date up to the seconds, and the part after the milliseconds."""
        local = time.localtime(second)
        if self._dates is _Dates.NONE:
            return "", ""
        if self._dates is _Dates.SHORT:
            return time.strftime("%H:%M:%S ", local), ""
        return time.strftime("%Y-%m-%dT%H:%M:%S", local), time.strftime("%z ", local)

    def format(self, record: logging.LogRecord) -> str:
        date, zone = self._date(int(record.created))
        if self._has_milliseconds:
            date += f".{int(record.msecs):03}{zone}"
        text = record.getMessage()
        if record.name != OURS:
            text = f"{record.name}: {text}"
        line = f"{date}{record.levelname.lower():7} {printable(text, _LONGEST_TEXT)}"
        if not record.exc_info:
            return line
        # Indented, so that an exception's message with line ends can't forge a record.
        return "\n    ".join([line, *_traceback(self, record)])


class _JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object on one line of ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        is_ours = record.name == OURS
        fields = record.args if is_ours and isinstance(record.args, dict) else {}
        message = _event(record.msg) if fields else None
        if message is None:
            message = printable(record.getMessage(), _LONGEST_TEXT)
        entry: dict[str, object] = {
            "time": f"{_utc(int(record.created))}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "message": message,
        }
        if not is_ours:
            entry["logger"] = _plain(record.name)
        for name, value in fields.items():
            entry[name] = value if type(value) is int else _plain(value)
        if record.exc_info:
            entry["traceback"] = "\n".join(_traceback(self, record))
        return _encode(entry)


class _JournalFormatter(logging.Formatter):
    """Puts the priority before each line of another formatter's result."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        return prioritised(self._formatter.format(record), record.levelno)


_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False, allow_nan=False).encode


@lru_cache(maxsize=1)  # many records share a second
def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


@lru_cache(maxsize=64)  # more than there are templates
def _event(template: str) -> str | None:
    """Return the message of a template that lists all its fields at the end; otherwise None.

    >>> _event("closed: peer=%(peer)s lines=%(lines)d")
    'closed'
    """
    event = re.sub(r":( \w+=%\(\w+\)[^ ]+)+$", "", template)
    return None if "%" in event else event


def _plain(value: object) -> object:
    """Return a field's value in a form that JSON can hold."""
    if isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return value
    return printable(value if type(value) is str else safe_text(value), _LONGEST_TEXT)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    """Return the lines of a record's traceback; only the first and the last of a very long one."""
    assert record.exc_info
    lines = formatter.formatException(record.exc_info).splitlines()
    left_out = len(lines) - 2 * _MOST_LINES
    if left_out > 1:
        lines[_MOST_LINES:-_MOST_LINES] = [f"… {left_out} lines left out …"]
    return [printable(line, _LONGEST_TEXT) for line in lines]
