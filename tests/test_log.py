"""The log on standard error, in both its forms."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cipherecho.cli.log import LogFormat, logging_to_stderr

log = logging.getLogger("cipherecho")

CLOSED = "closed: peer=%(peer)s reason=%(reason)r lines=%(lines)d seconds=%(seconds).3f"
FIELDS = {"peer": "127.0.0.1:5", "reason": "end of input", "lines": 3, "seconds": 0.0125}


@pytest.fixture(autouse=True)
def _logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Undo what the log of a program sets for good."""
    for name in ("raiseExceptions", "logThreads", "logProcesses", "logMultiprocessing", "_srcfile"):
        monkeypatch.setattr(logging, name, getattr(logging, name))
    level, propagate = log.level, log.propagate
    yield
    log.setLevel(level)
    log.propagate = propagate


def written(
    tell: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    form: LogFormat,
    level: str = "info",
) -> str:
    """Return what standard error gets of what `tell` logs; it fits a pipe."""
    reading, writing = os.pipe()
    with os.fdopen(reading, encoding="utf-8", newline="") as result:
        with os.fdopen(writing, "w", encoding="utf-8") as stderr, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stderr)
            with logging_to_stderr(level, form):
                tell()
        return result.read()


@pytest.fixture
def text(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], str]:
    """Return what the text form writes."""
    return lambda tell: written(tell, monkeypatch, LogFormat.TEXT)


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], dict[str, Any]]:
    """Return the one record that the JSON form writes, read as strictly as JSON is meant."""

    def read(tell: Callable[[], None]) -> dict[str, Any]:
        line = written(tell, monkeypatch, LogFormat.JSON)
        assert line.isascii()
        assert line.endswith("\n")
        assert line[:-1].isprintable()
        found = json.loads(line, parse_constant=pytest.fail)
        assert isinstance(found, dict)
        return found

    return read


def test_text_has_the_fields_in_its_message(text) -> None:
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4} info    "
        r"closed: peer=127.0.0.1:5 reason='end of input' lines=3 seconds=0.013\n",
        text(lambda: log.info(CLOSED, FIELDS)),
    )


def test_json_has_the_fields_apart_as_what_they_are(entry) -> None:
    found = entry(lambda: log.info(CLOSED, FIELDS))
    assert list(found)[:3] == ["time", "level", "message"]
    del found["time"]
    assert found == {"level": "info", "message": "closed", **FIELDS}


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("closed: peer=%(peer)s", "closed"),
        ("shutting down: lines=%(lines)d seconds=%(seconds)g", "shutting down"),
        ("serving %(lines)d at once: peer=%(peer)s", "serving 3 at once: peer=127.0.0.1:5"),
        ("the cipher took %(seconds).3f s", "the cipher took 0.013 s"),
        ("100%% of: lines=%(lines)d", "100% of: lines=3"),
    ],
)
def test_a_message_keeps_what_is_not_only_a_list_of_fields(
    entry, template: str, message: str
) -> None:
    found = entry(lambda: log.info(template, FIELDS))
    assert found["message"] == message
    assert found["lines"] == 3


@pytest.mark.parametrize(
    ("tell", "message"),
    [
        (lambda: log.warning("no fields, 100%"), "no fields, 100%"),
        (lambda: log.warning("in a row: %s and %d", "one", 2), "in a row: one and 2"),
    ],
)
def test_json_without_fields_has_the_message(entry, tell, message: str) -> None:
    found = entry(tell)
    assert found.keys() == {"time", "level", "message"}
    assert (found["level"], found["message"]) == ("warning", message)


def test_the_time_is_of_rfc_3339_in_utc(entry) -> None:
    found = entry(lambda: log.info("now"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["time"])
    ago = datetime.now(UTC) - datetime.fromisoformat(found["time"])
    assert timedelta() <= ago < timedelta(minutes=1)


def _raise(error: BaseException) -> None:
    raise error


class _Unshowable:
    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (7, 7),
        (10**30, 10**30),
        (True, True),
        (0.5, 0.5),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (None, "None"),
        (Path("/run/x.sock"), "/run/x.sock"),
        (LogFormat.JSON, "json"),
        (_Unshowable(), "an object that can't be shown"),
        ("Größe", "Größe"),
        ('"}\n{"time":"forged"', '"}\\n{"time":"forged"'),
        ("\x1b[31m \udcff \u202e", "\\x1b[31m \\udcff \\u202e"),
        ("x" * 1001, "x" * 999 + "…"),
    ],
)
def test_json_holds_any_field(entry, value: object, read: object) -> None:
    found = entry(lambda: log.info("told: value=%(value)s", {"value": value}))
    assert found["value"] == read
    assert type(found["value"]) is type(read)


@pytest.mark.parametrize("form", LogFormat)
def test_a_long_record_is_cut(monkeypatch: pytest.MonkeyPatch, form: LogFormat) -> None:
    record = written(lambda: log.info("x" * 10_000), monkeypatch, form)
    assert 1000 < len(record) < 1100


class _ForgingError(Exception):
    def __str__(self) -> str:
        return 'forged\n{"time": "now"}\x1b[2J' + "x" * 2000


def _fail() -> None:
    try:
        _raise(_ForgingError())
    except _ForgingError:
        log.exception("it failed: peer=%(peer)s", {"peer": "unix"})


def test_json_has_a_traceback_as_a_field(entry) -> None:
    found = entry(_fail)
    assert found["message"] == "it failed"
    first, *_, forged, last = found["traceback"].split("\n")
    assert first == "Traceback (most recent call last):"
    assert forged.endswith("_ForgingError: forged")
    assert last.startswith('{"time": "now"}\\x1b[2Jxxx')
    assert len(last) == 1000


def test_text_has_a_traceback_indented(text) -> None:
    first, *others = text(_fail).splitlines()
    assert first.endswith(" error   it failed: peer=unix")
    assert others[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") and line.isprintable() for line in others)


@pytest.mark.parametrize("form", LogFormat)
def test_what_is_below_the_level_is_not_told(
    monkeypatch: pytest.MonkeyPatch, form: LogFormat
) -> None:
    assert written(lambda: log.info("quiet"), monkeypatch, form, "warning") == ""


def test_nothing_is_lost_while_the_log_does_without_its_thread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = threading.active_count()
    with (tmp_path / "log").open("w+") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with logging_to_stderr("info") as paused:
            log.info("first")
            with paused():
                assert threading.active_count() == before
                log.info("second")
            log.info("third")
        stderr.seek(0)
        assert re.findall(r"(\w+)\n", stderr.read()) == ["first", "second", "third"]
