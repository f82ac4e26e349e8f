"""What the command says when it can't serve: to people in lines, beside a log in JSON in JSON."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from cipherecho.cli.messages import form_asked_for
from tests.helpers import running
from tests.helpers.in_process import run
from tests.helpers.running import Ended, complaint, run_shell


def records(ended: Ended) -> list[dict[str, object]]:
    """Return the records on standard error, on which there is nothing else."""
    return [json.loads(line) for line in ended.stderr.splitlines()]


def test_an_endpoint_that_is_taken_is_told_in_json() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = running.run("--log-format", "json", "--listen", f"127.0.0.1:{port}")
    [record] = records(ended)
    assert ended.status == 1
    assert record.keys() == {"time", "level", "message"}
    assert record["level"] == "error"
    assert str(record["message"]).startswith(f"can't listen on tcp://127.0.0.1:{port}: ")


def test_wrong_use_is_told_in_the_form_that_a_variable_asks_for() -> None:
    ended = run("--frobnicate", CIPHERECHO_LOG_FORMAT="json")
    assert ended.status == 2
    [record] = records(ended)
    assert "--frobnicate" in str(record["message"])  # in click's words


def test_what_is_wrong_in_a_file_is_told_in_the_form_that_it_asks_for(tmp_path: Path) -> None:
    file = tmp_path / "cipherecho.toml"
    file.write_text('max-lines = 3\nlog-format = "json"\nidle-timeout = 0\n')
    ended = run("--config", file)
    assert ended.status == 2
    assert [str(record["message"])[: len(str(file)) + 3] for record in records(ended)] == [
        f"{file}:1:",
        f"{file}:3:",
    ]
    # That is a question, and people ask it.
    assert str(file) in complaint(run("--config", file, "--check-config"), 2)


@pytest.mark.parametrize(
    ("code", "form"),
    [
        ("import socket; socket.socket.listen = None", "json"),
        ("import socket; socket.socket.listen = None", "text"),
        ("import tomllib; tomllib.loads = None", "json"),  # when there is no log yet
    ],
)
def test_an_exception_that_nobody_thought_of_is_a_record(
    tmp_path: Path, code: str, form: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(code)
    (tmp_path / "cipherecho.toml").write_text("")
    ended = running.run(
        *("--log-format", form, "--listen", "127.0.0.1:0"),
        *("--config", tmp_path / "cipherecho.toml"),
        PYTHONPATH=str(tmp_path),
    )
    assert ended.status == 1
    told = "TypeError: 'NoneType' object is not callable"
    if form == "json":
        [record] = records(ended)
        assert record["level"] == "critical"
        assert str(record["traceback"]).endswith(told)
    else:
        first, *others = ended.stderr.splitlines()
        assert first.endswith(" critical cipherecho ended by an exception, which is a bug")
        assert others[-1] == f"    {told}"


def test_the_journal_gets_the_priority_of_a_complaint(tmp_path: Path) -> None:
    """As systemd has standard error and the variable name the same file."""
    with (tmp_path / "journal").open("w+") as journal:
        status = os.fstat(journal.fileno())
        stream = f"JOURNAL_STREAM={status.st_dev}:{status.st_ino}"
        ended = run_shell(f"{stream} cipherecho --frobnicate 2>{journal.name}")
        assert ended.status == 2
        [line] = journal.read().splitlines()
        assert line.startswith("<3>cipherecho: No such option")


@pytest.mark.parametrize(
    ("arguments", "variables", "form"),
    [
        ([], {}, ""),
        (["--log-format", "json"], {}, "json"),
        (["--log-format=json"], {}, "json"),
        (["--log-format", "text", "--log-format=json"], {}, "json"),
        ([], {"CIPHERECHO_LOG_FORMAT": " json "}, "json"),
        (["--log-format", "text"], {"CIPHERECHO_LOG_FORMAT": "json"}, "text"),
        (["--frobnicate", "--log-format"], {"CIPHERECHO_LOG_FORMAT": "json"}, ""),
        (["--", "--log-format", "json"], {}, ""),
        (["apply", "--cipher", "rot13"], {"CIPHERECHO_LOG_FORMAT": "json"}, "text"),
        (["--log-format", "json", "--check-config"], {}, "text"),
    ],
)
def test_the_form_is_known_before_anything_else(
    arguments: Sequence[str], variables: Mapping[str, str], form: str
) -> None:
    assert form_asked_for(arguments, variables, ["apply", "ciphers"]) == form
