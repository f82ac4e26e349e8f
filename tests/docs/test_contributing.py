"""CONTRIBUTING and SECURITY: what they name is there, and what is there is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md"])
def test_every_link_leads_to_a_file(name: str) -> None:
    targets = re.findall(r"\]\(([^)]+)\)", (ROOT / name).read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_path_between_backquotes_is_there() -> None:
    paths = re.findall(r"`((?:tests|docs|examples|plugins|benchmarks)/[\w/.-]*)`", CONTRIBUTING)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_folder_of_the_source_has_its_line() -> None:
    source = ROOT / "src" / "cipherecho"
    folders = {path.parent.name for path in source.glob("*/__init__.py")}
    assert {name for name in folders if f"[`{name}/`](src/cipherecho/{name})" in CONTRIBUTING} == (
        folders
    )


def test_every_session_of_nox_has_its_line() -> None:
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    sessions = set(re.findall(r"^def (\w+)\(session: nox\.Session\)", noxfile, re.MULTILINE))
    assert set(re.findall(r"^\| `nox -s (\w+)`", CONTRIBUTING, re.MULTILINE)) == sessions
