"""What an index shows of each package: its README, with links that lead somewhere."""

from __future__ import annotations

import re
import subprocess
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from hatchling.build import build_sdist, build_wheel

from tests.helpers.pasting import PLUGINS, ROOT, copied

PACKAGES = [".", *(f"plugins/{name}" for name in PLUGINS)]
URL = "https://code.example/cipherecho/blob/main/"

_TARGET = re.compile(r"(!?)\[[^\]]+\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout."""
    return copied(tmp_path_factory.mktemp("packages"))


def setting(checkout: Path, url: str) -> None:
    """Set the address of the project."""
    file = checkout / "pyproject.toml"
    text, count = re.subn(
        r'^files-url = ".*"', f'files-url = "{url}"', file.read_text(), flags=re.M
    )
    assert count == 1
    file.write_text(text)


def metadata(wheel: Path) -> Message:
    """Return the metadata in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def description(package: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the long description in the wheel of a package."""
    monkeypatch.chdir(package)
    told = metadata(directory / build_wheel(str(directory)))
    assert told["Description-Content-Type"] == "text/markdown"
    text = told.get_payload()
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("package", PACKAGES)
def test_links_are_absolute_once_the_project_has_an_address(
    package: str, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting(checkout, URL)
    links = _TARGET.findall(description(checkout / package, tmp_path, monkeypatch))
    relative = _TARGET.findall((ROOT / package / "README.md").read_text(encoding="utf-8"))
    assert len(links) == len(relative)
    for (picture, target), (_, before) in zip(links, relative, strict=True):
        if "://" in before:
            assert target == before
        else:
            start = URL.replace("/blob/", "/raw/") if picture else URL
            assert target.startswith(start)
            assert (ROOT / target.removeprefix(start)).samefile(ROOT / package / before)


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_is_a_link_to_nowhere_before_that(
    package: str, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting(checkout, "")
    text = description(checkout / package, tmp_path, monkeypatch)
    assert all(target.startswith("https://") for _, target in _TARGET.findall(text))
    # A file is named, as one that the checkout has.
    relative = _TARGET.findall((ROOT / package / "README.md").read_text(encoding="utf-8"))
    for _, target in relative:
        if "://" not in target:
            path = (ROOT / package / target).resolve().relative_to(ROOT).as_posix()
            assert f"`{path}`" in text


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_from_a_source_distribution_says_the_same(
    package: str, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting(checkout, URL)
    from_checkout = description(checkout / package, tmp_path, monkeypatch)
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    archive = tmp_path / build_sdist(str(tmp_path))
    subprocess.run(["tar", "--extract", "--file", archive, "--directory", unpacked], check=True)
    [source] = unpacked.iterdir()
    assert (source / "README.md").is_file()
    assert description(source, tmp_path, monkeypatch) == from_checkout
