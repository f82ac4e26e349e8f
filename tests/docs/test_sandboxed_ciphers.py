"""The page on sandboxed ciphers tells the commands that the guests are built by.

They are run by the tests of cipherecho-wasm; what else the page shows is tested like the others.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from tests.helpers.pasting import ROOT

GUESTS = ROOT / "plugins" / "cipherecho-wasm" / "guests"
PAGE = (ROOT / "docs" / "how-to" / "sandboxed-ciphers.md").read_text(encoding="utf-8")
TOLD = [
    shlex.split(line)
    for script in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in script.replace("\\\n", "").replace("npx ", "").splitlines()
]


@pytest.fixture
def build() -> ModuleType:
    """The command that builds the guests."""
    spec = importlib.util.spec_from_file_location("build_guests", GUESTS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("guest", ["caesar", "rot13", "vigenere"])
def test_guest_is_built_as_the_page_tells(
    guest: str, build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[list[str]] = []

    def run(*command: str | Path) -> None:
        ran.append([part if isinstance(part, str) else part.name for part in command])

    monkeypatch.setattr(build, "run", run)
    monkeypatch.setattr(build, "from_pypi", Path)
    monkeypatch.setattr(build, "from_npm", Path)
    (tmp_path / f"{guest}.core.wasm").touch()  # what the linker would make
    build.GUESTS[guest](tmp_path / f"{guest}.wasm")
    assert ran
    for command in ran:
        assert command in TOLD


def test_versions_are_those_that_are_built_with() -> None:
    requirements = (GUESTS / "requirements.txt").read_text(encoding="utf-8")
    (componentize_py,) = re.findall(r"^componentize-py==.*$", requirements, re.MULTILINE)
    assert ["pip", "install", componentize_py] in TOLD
    package = json.loads((GUESTS / "package.json").read_text(encoding="utf-8"))
    ((name, version),) = package["dependencies"].items()
    assert ["npm", "install", f"{name}@{version}"] in TOLD
