"""The reference says what the code does."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import product
from pathlib import Path

import pytest

import cipherecho
from cipherecho.server import Counters
from tests.helpers.in_process import run
from tests.helpers.site import Site

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "cipherecho"
REFERENCE = ROOT / "docs" / "reference"


def rows(page: Path, heading: str = "# ") -> list[list[str]]:
    """Return the cells of all tables after a heading, without those of the tables' own headings."""
    _, _, text = page.read_text(encoding="utf-8").partition(heading)
    text, _, _ = text.partition("\n## ")
    lines = re.findall(r"^\| (.*) \|$", re.sub(r"^.*\n\| ---.*\n", "", text, flags=re.M), re.M)
    return [re.split(r" ?\| ", line) for line in lines]


def test_what_comes_from_the_code_is_as_the_code_has_it() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@cache
def messages() -> list[re.Pattern[str]]:
    """Return a pattern for each text in the code that has some words."""
    return [
        re.compile(pattern, re.DOTALL)
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for pattern in patterns(node)
        if re.search(r"[a-z]{2}", pattern)
    ]


def patterns(node: ast.AST) -> Iterator[str]:
    """Yield what a text in the code can be, whatever is put into it."""
    match node:
        case ast.Constant(str(text)):
            for one in re.split(r"\n", text):
                yield re.sub(r"%\\\(\w+\\\)[\\.\w]*?[srdgf]", ".+", re.escape(one))
        case ast.JoinedStr(values):
            choices = [
                [re.escape(str(one.value))] if isinstance(one, ast.Constant) else [r"\S+"]
                for one in values
            ]
            yield from map("".join, product(*choices))


def is_said(text: str) -> bool:
    """Return whether the code has this text, where ``…`` is what is put into it."""
    return any(pattern.fullmatch(text) for pattern in messages())


ERROR_LINES = [
    (row[0], line)
    for row in rows(REFERENCE / "protocol.md", "## Error lines")
    for line in re.findall(r"`([^`]+)`", row[1])
]


@pytest.mark.parametrize("line", [line for _, line in ERROR_LINES])
def test_error_line_is_one_that_clients_get(line: str) -> None:
    message, _, then = line.rpartition("; ")
    assert is_said(then) or is_said(line)
    if message != "REASON":
        assert is_said(message) or is_said(message.removeprefix("this line ")) or is_said(line)


def test_every_reason_is_in_the_protocol() -> None:
    said = {
        reason
        for heading in ("## Error lines", "## Closing without an error line")
        for row in rows(REFERENCE / "protocol.md", heading)
        for reason in re.findall(r"`([^`]+)`", row[0])
    }
    counters = Counters()
    assert said == {*counters.closed, *counters.refused}


def test_every_reason_of_a_limit_is_one_that_there_is() -> None:
    limits = rows(ROOT / "docs" / "how-to" / "limits.md", "## What clients see")
    counters = Counters()
    assert {reason for row in limits for reason in re.findall(r"`([^`]+)`", row[2])} <= {
        *counters.closed,
        *counters.refused,
    }


@pytest.mark.parametrize(
    "message",
    [row[0].strip("`") for row in rows(ROOT / "docs" / "how-to" / "troubleshoot.md")],
)
def test_message_that_is_explained_is_in_the_code(message: str) -> None:
    text, _, reason = message.partition(" reason='")
    if reason:  # "refused … reason='full'"
        counters = Counters()
        assert text == "refused …"
        assert reason.partition("'")[0] in {*counters.closed, *counters.refused}
    else:
        parts = [part.strip() for part in re.split("…|: Address already in use", text)]
        longest = max(parts, key=len)
        assert any(longest in pattern.pattern.replace("\\", "") for pattern in messages()), longest


def test_every_variable_that_is_read_is_there() -> None:
    pages = [REFERENCE / "environment.md", REFERENCE / "options.md"]
    said = "".join(page.read_text(encoding="utf-8") for page in pages)
    names = {
        name
        for path in [*SOURCE.rglob("*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in variables(node)
    }
    assert {"LISTEN_FDS", "NOTIFY_SOCKET", "XDG_CACHE_HOME"} <= names
    assert {name for name in names if f"`{name}`" not in said} == set()


def variables(node: ast.AST) -> Iterator[str]:
    """Yield a text that is the name of a variable, by its look."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from re.findall(
            r"\A((?:CIPHERECHO|LISTEN|NOTIFY|WATCHDOG|JOURNAL|XDG|CACHE)_[A-Z_]+[A-Z])\Z",
            node.value,
        )


STATUSES = {
    ("every command", "0"): ["ciphers"],
    ("every command", "1"): ["apply", "nowhere.txt"],
    ("`apply`", "1"): ["apply", "--cipher", "railfence:2"],  # of bytes that are not UTF-8
    ("`check`", "1"): ["check", "loud"],
    ("every command", "2"): ["--max-line", "long"],
    ("`check`", "3"): ["check", "broken"],
}


@pytest.mark.parametrize(("of", "status"), STATUSES)
def test_exit_status_is_that_of_the_table(
    of: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loud = "class Loud:\n    def encrypt(self, body):\n        return body.decode().encode()\n"
    ciphers = {"loud": "acme:Loud", "broken": "acme:Broken"}
    Site(tmp_path).install("acme-ciphers", ciphers, acme=loud)
    ended = run(*STATUSES[of, status], stdin=b"\xff\n", PYTHONPATH=str(tmp_path))
    assert str(ended.status) == status, ended.stderr


def test_every_exit_status_of_the_table_is_tried() -> None:
    in_table = {(row[1], row[0]) for row in rows(REFERENCE / "exit-statuses.md")}
    # The tests of processes send signals.
    assert in_table - {("every command", "128 + N")} == STATUSES.keys()


def test_records_are_found_however_the_code_writes_them() -> None:
    found = [row[1].strip("`") for row in rows(REFERENCE / "log.md")]
    assert "shutting down: connections=…" in found  # at once
    assert "refused a connection: peer=… reason=…" in found  # once a second
    assert "the cipher failed; this is a bug of its plugin" in found  # the first time
    assert "the cipher failed again" in found  # and later


def test_every_public_module_has_a_page() -> None:
    public = set(re.findall(r"^``cipherecho\.(\w+)``", cipherecho.__doc__ or "", re.MULTILINE))
    assert public
    pages = {path.stem for path in (REFERENCE / "api").glob("*.md")} - {"index"}
    assert pages == public
    _, _, said = (ROOT / "docs/discussion/layers.md").read_text().partition("## What is public")
    assert set(re.findall(r"`(?:cipherecho)?\.(\w+)`", said)) == public


def members(thing: object) -> list[object]:
    """Return something public, and what it has if it is a class."""
    return [thing, *(vars(thing).values() if isinstance(thing, type) else [])]


def test_every_error_that_is_raised_in_public_can_be_caught() -> None:
    modules = [
        import_module(f"cipherecho.{path.stem}")
        for path in (REFERENCE / "api").glob("*.md")
        if path.stem != "index"
    ]
    public = {name for module in modules for name in module.__all__} | vars(builtins).keys()
    raised = {
        error
        for module in modules
        for name in module.__all__
        for thing in members(getattr(module, name))
        for errors in re.findall(
            r"^\s+(\w+Error(?:, \w+Error)*): ", inspect.getdoc(thing) or "", re.M
        )
        for error in errors.split(", ")
    }
    assert raised
    assert raised - public == set()


def test_the_floors_are_those_that_imports_are_checked_by() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    floors = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    names = [name for floor in floors for name in floor.split(" | ")]
    said = [re.sub(r"`|/|\.py", "", row[0]) for row in rows(ROOT / "docs/discussion/layers.md")]
    small = {"__main__", "commands", "companion", "errors", "printable", "registry", "rot13"}
    assert said == [name for name in names if name not in small]
