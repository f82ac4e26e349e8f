"""The script that fuzzes: a short run of every target, and what it does with a finding."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement  # pytest needs it, too

from tests.fuzz.fuzz import NAMES
from tests.fuzz.fuzz_targets import TARGETS
from tests.helpers.running import PATIENCE, Ended, package, run_program

SCRIPT = Path(__file__).with_name("fuzz.py")

# Each takes some seconds to import with its branches counted. That with the fewest seeds has
# done with them at once.
ONE = "specification"
ONE_OR_ALL = [
    pytest.param(name, marks=() if name == ONE else pytest.mark.thorough) for name in NAMES
]


@pytest.fixture
def _atheris() -> None:
    """Skip a test where atheris has no wheel, which our metadata knows; else it has to be there."""
    asked_for = map(Requirement, metadata.requires("cipherecho") or ())
    markers = [requirement.marker for requirement in asked_for if requirement.name == "atheris"]
    assert markers
    if not any(marker is None or marker.evaluate({"extra": "tests"}) for marker in markers):
        pytest.skip("atheris has no wheel for this Python or this machine")
    package("atheris")


def fuzz(*arguments: str | Path, **variables: Any) -> Ended:
    return run_program(sys.executable, SCRIPT, *arguments, patience=3 * PATIENCE, **variables)


def test_every_target_can_be_named() -> None:
    assert list(TARGETS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_seed_passes(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].check(seed)


@pytest.mark.usefixtures("_atheris")
@pytest.mark.parametrize("name", ONE_OR_ALL)
def test_a_short_run_finds_nothing(name: str, tmp_path: Path, thorough: bool) -> None:
    findings, temporary = tmp_path / "findings", tmp_path / "temporary"
    temporary.mkdir()
    seconds = "10" if thorough else "1"
    ended = fuzz(name, "--seconds", seconds, "--findings", findings, TMPDIR=str(temporary))
    assert ended.status == 0, ended.stderr
    executed = re.search(r"number_of_executed_units: (\d+)", ended.stderr)
    assert executed is not None
    # As many as there are seeds would mean that it does not come to mutating them.
    assert int(executed[1]) > 3 * len(list(TARGETS[name].seeds))
    assert [list(findings.iterdir()), list(temporary.iterdir())] == [[], []]


@pytest.mark.usefixtures("_atheris")
def test_a_finding_fails_and_can_be_replayed(tmp_path: Path) -> None:
    """A parser that fails on what no seed begins with: it has to come from a mutation."""
    program = tmp_path / "broken.py"
    program.write_text(f"""
import runpy, sys
from pathlib import Path
sys.path.insert(0, {str(SCRIPT.parents[1])!r})
import cipherecho.network.proxy_protocol as proxy_protocol
parse = proxy_protocol.parse_proxy_header
def broken(data):
    if data and data[0] not in b"P\\r":
        raise MemoryError
    return parse(data)
proxy_protocol.parse_proxy_header = broken
sys.argv[0] = {str(SCRIPT)!r}
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
""")
    ended = run_program(sys.executable, program, "proxy", "--seconds", "10", "--findings", tmp_path)
    assert ended.status != 0
    assert b"MemoryError" in ended.stdout  # where atheris says it
    [file] = tmp_path.glob("crash-*")
    assert f"finding: {file.read_bytes()!r}\n" in ended.stderr
    assert f"again: python tests/fuzz/fuzz.py proxy --replay {file}" in ended.stderr
    again = run_program(sys.executable, program, "proxy", "--replay", file)
    assert again.status != 0
    assert "MemoryError" in again.stderr
    assert fuzz("proxy", "--replay", file).status == 0


def test_without_atheris_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "atheris.py").write_text("raise ModuleNotFoundError")
    ended = run_program(sys.executable, SCRIPT, "proxy", PYTHONPATH=str(tmp_path))
    assert ended.status == 1
    assert "pip install atheris" in ended.stderr


def test_one_input_is_checked_without_atheris(tmp_path: Path) -> None:
    (tmp_path / "atheris.py").write_text("raise ModuleNotFoundError")
    file = tmp_path / "input"
    file.write_bytes(b"a:b")
    ended = run_program(
        sys.executable, SCRIPT, "endpoint", "--replay", file, PYTHONPATH=str(tmp_path)
    )
    assert (ended.status, ended.stdout) == (0, b"b'a:b' passed\n")
