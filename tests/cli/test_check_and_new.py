"""``cipherecho check`` and ``cipherecho new``, for people who write a cipher."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.helpers import family, running
from tests.helpers.in_process import run
from tests.helpers.running import PATIENCE, ask, complaint, run_program, serving
from tests.helpers.site import Site


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Where plugins are installed for every command that the test runs."""
    path = tmp_path / "site"
    path.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(path))
    return Site(path)


def test_check_says_of_each_promise_that_it_is_kept() -> None:
    ended = running.run("check", "rot13")
    assert ended.status == 0
    assert ended.stderr == ""
    *promises, verdict = ended.stdout.decode().splitlines()
    assert all(line.startswith("ok  ") for line in promises)
    assert verdict == "conforming"


def test_check_says_which_promise_is_broken_and_what_shows_it(plugins: Site) -> None:
    source = (
        "class Loud:\n    def encrypt(self, body):\n        return body.decode().upper().encode()\n"
    )
    plugins.install("acme-ciphers", {"loud": "acme:Loud"}, acme=source)
    ended = run("check", "loud")
    assert ended.status == 1
    assert b"FAIL  lines" in ended.stdout
    assert b"raised UnicodeDecodeError" in ended.stdout
    found = json.loads(run("check", "loud", "--json").stdout)
    assert "raised UnicodeDecodeError" in {one["check"]: one["problem"] for one in found}["lines"]


def test_check_of_what_is_not_installed_is_wrong_use() -> None:
    assert "did you mean rot13" in complaint(run("check", "rot31"), 2)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("Loud = 7", "7 is no class or function"),
        ("class Loud: pass", "expected a cipher"),
        ("def Loud(): raise KeyError('alphabet')", "KeyError: 'alphabet'"),
    ],
)
def test_check_of_what_does_not_load_has_a_status_of_its_own(
    plugins: Site, source: str, told: str
) -> None:
    plugins.install("acme-ciphers", {"loud": "acme:Loud"}, acme=source)
    assert told in complaint(run("check", "loud"), 3)


def test_check_of_a_member_of_a_family(plugins: Site) -> None:
    plugins.install("acme-ciphers", {"moved": "acme:Moved"}, acme=Path(family.__file__).read_text())
    for specification in ("moved:steps", "moved:steps,steps=4"):
        assert run("check", specification).stdout.endswith(b"conforming\n")
    told = complaint(run("check", "moved:steps,steps=99"), 2)
    assert "cipher 'moved:steps,steps=99': option steps: got '99'" in told
    assert "option unit is missing" in complaint(run("check", "moved"), 2)
    assert "made another family" in complaint(run("check", "moved:families"), 3)


def test_a_new_package_builds_installs_conforms_tests_itself_and_serves(
    plugins: Site, tmp_path: Path
) -> None:
    package = tmp_path / "mine"
    ended = run("new", "My_Cipher", "--directory", package)
    assert (ended.status, ended.stderr) == (0, "")
    install: list[str | Path] = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        plugins.path,
        package,
    ]
    done = run_program(sys.executable, *install, patience=10 * PATIENCE)  # it may fetch packages
    assert done.status == 0, done.stderr
    assert running.run("check", "my-cipher").stdout.endswith(b"conforming\n")
    tests = run_program(
        sys.executable, "-m", "pytest", "-q", "-c", package / "pyproject.toml", package
    )
    assert tests.status == 0, tests.stdout
    assert b"11 passed" in tests.stdout
    with serving("--cipher", "my-cipher:3") as server, server.connect() as client:
        assert ask(client, b"abc\n") == b"abc\ndef\n"


def test_new_overwrites_nothing(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear reader")
    assert "nothing is overwritten" in complaint(run("new", "mine", "--directory", tmp_path), 2)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("name", "told"),
    [("my cipher", "expected letters a-z"), ("", "expected letters a-z"), ("rot13", "itself")],
)
def test_new_refuses_a_name_that_no_cipher_can_have(name: str, told: str, tmp_path: Path) -> None:
    assert told in complaint(run("new", name, "--directory", tmp_path / "new"), 2)
    assert not (tmp_path / "new").exists()
