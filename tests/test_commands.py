"""What a plugin's own command does for each way in which it can end."""

import sys
from pathlib import Path

import click
import pytest

from cipherecho.commands import run_command

Captured = pytest.CaptureFixture[str]


@click.group()
def root() -> None:
    """Make things."""


@root.command()
@click.argument("how")
def make(how: str) -> None:
    """Make something, or fail as told."""
    errors: dict[str, BaseException] = {
        "failing": click.ClickException("got lead, expected gold"),
        "misused": click.UsageError("got lead, expected gold"),
        "of the system": FileNotFoundError(2, "No such file or directory", "gold\n"),
        "of the system, without a file": OSError("no Landlock"),
        "interrupted": KeyboardInterrupt(),
        "unread": BrokenPipeError(),
    }
    if how in errors:
        raise errors[how]
    click.echo(how)


def ended(words: list[str], monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(sys, "argv", ["acme", *words])
    with pytest.raises(SystemExit) as end:
        run_command(root, "cipherecho-acme")
    return end.value.code


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("failing", 1, "cipherecho-acme: got lead, expected gold\n"),
        ("misused", 2, "cipherecho-acme: got lead, expected gold\n"),
        ("of the system", 1, "cipherecho-acme: gold\\n: No such file or directory\n"),
        ("of the system, without a file", 1, "cipherecho-acme: no Landlock\n"),
        ("interrupted", 130, "\n"),  # after the ^C
        ("unread", 0, ""),
    ],
)
def test_an_error_is_one_line_and_a_status(
    how: str, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    assert ended(["make", how], monkeypatch) == status
    assert capsys.readouterr() == ("", said)


def test_a_command_that_is_done_ends_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    assert ended(["make", "gold"], monkeypatch) == 0
    assert capsys.readouterr() == ("gold\n", "")


def test_without_a_word_there_is_help(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert ended([], monkeypatch) == 2
    output, error = capsys.readouterr()
    assert (output, error.split()[:2]) == ("", ["Usage:", "cipherecho-acme"])


def test_help_ends_with_0(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(["--help"], monkeypatch) == 0


def test_output_that_can_not_be_written_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert ended(["make", "gold"], monkeypatch) == 1
    assert capsys.readouterr().err == "cipherecho-acme: No space left on device\n"
