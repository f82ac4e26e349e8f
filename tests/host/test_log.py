"""The log on standard error, in both its forms."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, TypeAlias

import pytest

from cipherecho.host.log.stderr import logging_to_stderr
from cipherecho.host.log.writer import NoThreadError
from cipherecho.settings.process import LogFormat
from tests.helpers.running import PATIENCE

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


Text: TypeAlias = Callable[[Callable[[], None]], str]
"""Returns what the text form writes of what a function logs."""

Entry: TypeAlias = Callable[[Callable[[], None]], dict[str, Any]]
"""Returns the one record that the JSON form writes of it."""


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
def text(monkeypatch: pytest.MonkeyPatch) -> Text:
    """Return what the text form writes."""
    return lambda tell: written(tell, monkeypatch, LogFormat.TEXT)


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> Entry:
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


def test_text_has_the_fields_in_its_message(text: Text) -> None:
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4} info    "
        r"closed: peer=127.0.0.1:5 reason='end of input' lines=3 seconds=0.013\n",
        text(lambda: log.info(CLOSED, FIELDS)),
    )


def test_json_has_the_fields_apart_as_what_they_are(entry: Entry) -> None:
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
    entry: Entry, template: str, message: str
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
def test_json_without_fields_has_the_message(
    entry: Entry, tell: Callable[[], None], message: str
) -> None:
    found = entry(tell)
    assert found.keys() == {"time", "level", "message"}
    assert (found["level"], found["message"]) == ("warning", message)


def test_the_time_is_of_rfc_3339_in_utc(entry: Entry) -> None:
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
def test_json_holds_any_field(entry: Entry, value: object, read: object) -> None:
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


def test_json_has_a_traceback_as_a_field(entry: Entry) -> None:
    found = entry(_fail)
    assert found["message"] == "it failed"
    first, *_, forged, last = found["traceback"].split("\n")
    assert first == "Traceback (most recent call last):"
    assert forged.endswith("_ForgingError: forged")
    assert last.startswith('{"time": "now"}\\x1b[2Jxxx')
    assert len(last) == 1000


def test_text_has_a_traceback_indented(text: Text) -> None:
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
        with logging_to_stderr("info") as written:
            log.info("first")
            with written.paused():
                assert threading.active_count() == before
                log.info("second")
            log.info("third")
        stderr.seek(0)
        assert re.findall(r"(\w+)\n", stderr.read()) == ["first", "second", "third"]


def test_what_other_packages_log_is_there_too(text: Text, entry: Entry) -> None:
    def tell() -> None:
        other = logging.getLogger("their.package")
        other.info("not asked for")
        other.warning("%(message)s of %(level)s", {"message": "forged\n", "level": "error"})

    assert text(tell).endswith(" warning their.package: forged\\n of error\n")
    found = entry(tell)
    del found["time"]
    message = "forged\\n of error"
    assert found == {"level": "warning", "message": message, "logger": "their.package"}


# What is lost, and that it is told


class Reader:
    """Reads a pipe to its end, from when it is told to begin."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._data = b""
        self._thread = threading.Thread(target=self._read)

    def begin(self) -> None:
        self._thread.start()

    def lines(self) -> list[str]:
        """Return all lines that came, when nobody can write any more."""
        self._thread.join()
        os.close(self._descriptor)
        assert self._data.endswith(b"\n")
        return self._data.decode().splitlines()

    def _read(self) -> None:
        while part := os.read(self._descriptor, 65_536):
            self._data += part


@pytest.fixture
def pipe() -> Iterator[tuple[Reader, IO[str]]]:
    """A pipe to write to, that blocks, and that nobody reads yet."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as file:
        yield Reader(reading), file


def until(condition: Callable[[], bool]) -> None:
    """Wait for what a thread does in a moment."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("form", LogFormat)
def test_what_a_reader_that_stops_does_not_get_is_counted_and_told_in_its_place(
    pipe: tuple[Reader, IO[str]], monkeypatch: pytest.MonkeyPatch, form: LogFormat
) -> None:
    reader, stderr = pipe
    monkeypatch.setattr(sys, "stderr", stderr)
    total = 6000
    with logging_to_stderr("error", form) as written:
        began = time.monotonic()
        for number in range(total):
            log.error("record %d, %s", number, "x" * 900)
        assert time.monotonic() - began < PATIENCE  # nobody waited for the reader
        lost = written.lost()
        assert 1000 < lost < total - 1000  # more than 1 MB waits, and less than 5
        reader.begin()
        until(lambda: log.handlers[0].queue.is_empty())  # type: ignore[attr-defined]
        log.error("record %d, %s", total, "the last")
        assert written.lost() == lost
    stderr.close()
    lines = reader.lines()
    kept = total - lost
    assert len(lines) == kept + 2
    told = [*range(kept), -1, total]
    for line, number in zip(lines, told, strict=True):
        assert (f"record {number}, " if number >= 0 else "records of the log were lost") in line
    if form is LogFormat.JSON:
        notice = json.loads(lines[kept])
        assert (notice["level"], notice["number"]) == ("warning", lost)
    else:
        assert lines[kept].endswith(f" warning records of the log were lost: number={lost}")


def test_nothing_is_lost_or_torn_because_standard_error_does_not_block(
    pipe: tuple[Reader, IO[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, stderr = pipe
    monkeypatch.setattr(sys, "stderr", stderr)
    os.set_blocking(stderr.fileno(), False)
    with logging_to_stderr("error") as written:
        for number in range(1000):  # 2 MB
            log.error("record %d, %s", number, "x" * 300)
            if number % 25 == 0:  # longer than what a pipe takes in one piece
                log.error("long", exc_info=Exception("\n".join(["y" * 900] * 50)))
        reader.begin()
        until(lambda: log.handlers[0].queue.is_empty())  # type: ignore[attr-defined]
    assert written.lost() == 0
    stderr.close()
    lines = reader.lines()
    whole = [re.fullmatch(r"\S+ error   record (\d+), x{300}", line) for line in lines]
    assert [int(one[1]) for one in whole if one] == list(range(1000))
    assert sum(line.strip() == "y" * 900 for line in lines) == 40 * 49  # the first has its type
    assert len(lines) == 1000 + 40 * 51


def test_what_can_t_be_written_is_told_when_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with (
        os.fdopen(ours.detach(), "w", encoding="utf-8") as stderr,
        (tmp_path / "log").open("wb") as file,
    ):
        monkeypatch.setattr(sys, "stderr", stderr)
        with logging_to_stderr("error") as written:
            log.error("torn", exc_info=Exception("\n".join(["y" * 900] * 900)))
            until(lambda: theirs.recv(1, socket.MSG_PEEK) != b"")
            theirs.close()
            log.error("not written")
            until(lambda: written.lost() == 2)
            os.dup2(file.fileno(), stderr.fileno())
            log.error("written")
    lines = (tmp_path / "log").read_text().splitlines()
    # What was torn may be before it, so it begins a new line.
    assert lines[0] == ""
    assert lines[1].endswith("records of the log were lost: number=2")
    assert lines[2].endswith("error   written")
    assert len(lines) == 3


class _Unformattable:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __str__(self) -> str:
        raise self._error


@pytest.mark.parametrize("error", [ValueError(), MemoryError(), SystemExit(3), GeneratorExit()])
def test_a_record_that_can_t_be_made_is_lost_and_harms_nobody(
    text: Callable[[Callable[[], None]], str], error: BaseException
) -> None:
    def tell() -> None:
        log.info("before")
        log.info("never: what=%(what)s", {"what": _Unformattable(error)})
        log.info("after")

    lines = text(tell).splitlines()
    assert [line.split(maxsplit=2)[2] for line in lines] == [
        "before",
        "records of the log were lost: number=1",
        "after",
    ]


def test_a_traceback_of_any_length_is_a_record_of_some_length(text: Text) -> None:
    lines = text(lambda: log.error("long", exc_info=Exception("\n".join("x" * 9999)))).splitlines()
    assert len(lines) == 1 + 100 + 1 + 100
    assert lines[101] == "    … 9799 lines left out …"


def test_a_log_that_can_t_have_its_thread_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with Path(os.devnull).open("w") as stderr, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)
        with pytest.raises(NoThreadError, match=r"^can't start a thread for the log: "):
            with logging_to_stderr("info"):
                pass


# systemd's journal


@pytest.mark.parametrize("form", LogFormat)
def test_the_journal_gets_priorities_and_no_date(
    pipe: tuple[Reader, IO[str]], monkeypatch: pytest.MonkeyPatch, form: LogFormat
) -> None:
    reader, stderr = pipe
    status = os.fstat(stderr.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    monkeypatch.setattr(sys, "stderr", stderr)
    reader.begin()
    with logging_to_stderr("debug", form):
        for level in ("debug", "info", "warning", "error", "critical"):
            getattr(log, level)("it is <3>")
        log.error("it failed", exc_info=Exception("<1>one\ntwo"))
    stderr.close()
    priorities, texts = zip(*(line.split(">", 1) for line in reader.lines()), strict=True)
    if form is LogFormat.JSON:
        assert priorities == ("<7", "<6", "<4", "<3", "<2", "<3")
        assert {json.loads(one)["message"] for one in texts} == {"it is <3>", "it failed"}
    else:
        assert priorities == ("<7", "<6", "<4", "<3", "<2", "<3", "<3", "<3")
        assert texts[1:3] == ("info    it is <3>", "warning it is <3>")
        assert texts[5:] == ("error   it failed", "    Exception: <1>one", "    two")


@pytest.mark.parametrize("stream", ["", "1:2", "none", "{device}:{inode}0"])
def test_a_variable_that_was_meant_for_another_changes_nothing(
    text: Callable[[Callable[[], None]], str], monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    status = os.fstat(2)
    value = stream.format(device=status.st_dev, inode=status.st_ino)
    monkeypatch.setenv("JOURNAL_STREAM", value)
    assert re.match(r"\d{4}-", text(lambda: log.info("it is dated")))


# What Python would write


def _warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn_explicit("a\nwarning", UserWarning, "plugin.py", 7)


def _fail_in_a_thread() -> None:
    thread = threading.Thread(target=_raise, args=(ValueError("in vain"),), name="worker")
    thread.start()
    thread.join()


class _Undeletable:
    def __del__(self) -> None:
        raise ValueError("in vain")


def _fail_where_nobody_can_catch() -> None:
    _Undeletable()


@pytest.mark.parametrize(
    ("tell", "level", "message", "fields"),
    [
        (
            _warn,
            "warning",
            "UserWarning: a\\nwarning (plugin.py:7)",
            {"category": "UserWarning", "warning": "a\\nwarning", "file": "plugin.py", "line": 7},
        ),
        (_fail_in_a_thread, "error", "a thread ended by an exception", {"thread": "worker"}),
        (
            _fail_where_nobody_can_catch,
            "error",
            "an exception was ignored",
            {"where": f"Exception ignored in: {_Undeletable.__del__!r}"},
        ),
    ],
)
def test_what_python_says_is_a_record(
    entry: Entry, tell: Callable[[], None], level: str, message: str, fields: dict[str, object]
) -> None:
    found = entry(tell)
    del found["time"]
    if level == "error":
        assert found.pop("traceback").endswith("\nValueError: in vain")
    assert found == {"level": level, "message": message, **fields}
