"""What the README and the pages of ``docs`` show is so: every fenced block is used as it stands.

The console blocks of a page are one session in one shell, in a directory that stands for the
checkout.  A block that begins with a comment that is a file's name is that file.  All other
Python blocks of a page are one module, which is installed with the entry points of its TOML
blocks.  The rule for each language is in ``RULES``; a block of any other fails.
"""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import re
import shlex
import subprocess
import sys
import tomllib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import pytest

from cipherecho.testing import CipherTests, ConformanceError, conform
from tests.helpers.pasting import ROOT
from tests.helpers.running import tool
from tests.helpers.shell import Shell, agree, free_ports, shell
from tests.helpers.site import Site

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]

# Whole ciphers for WebAssembly. A page has parts of them.
GUESTS = ROOT / "plugins" / "cipherecho-wasm" / "guests"

_FENCED = re.compile(r"^```(?P<language>.*)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE)
_COMMAND = re.compile(r"^\$ (?P<line>(?:.*\\\n)*.*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """What stands between two fences; `line` is that of the first."""

    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that it is, if it is one."""
        name = re.match(r"# ([\w.-]+\.(?:py|toml))\n", self.text)
        return name[1] if name else None


@dataclass
class Page:
    """A page, the module of its Python blocks, and where its commands run and find packages."""

    path: Path
    directory: Path
    site: Site
    blocks: list[Block] = field(init=False)
    module: ModuleType = field(init=False)

    def __post_init__(self) -> None:
        source = self.path.read_text(encoding="utf-8")
        self.blocks = [
            Block(source.count("\n", 0, one.start()) + 1, one["language"], one["text"])
            for one in _FENCED.finditer(source)
        ]

    @property
    def package(self) -> tuple[str, str]:
        """The name and the version of its package, which it need not say."""
        for block in self.blocks:
            if block.language == "toml":
                project = tomllib.loads(block.text).get("project", {})
                if "name" in project:
                    return project["name"], project["version"]
        return "my-ciphers", "0.1.0"

    @property
    def ciphers(self) -> dict[str, str]:
        """The entry points of its packages, by the cipher's name."""
        return {
            name: value
            for block in self.blocks
            if block.language == "toml"
            for name, value in _entry_points(tomllib.loads(block.text)).items()
        }

    def factory(self, value: str) -> Callable[..., object]:
        """Return what an entry point names."""
        factory: Callable[..., object] = getattr(self.module, value.partition(":")[2])
        return factory


def _entry_points(document: dict[str, dict[str, dict[str, dict[str, str]]]]) -> dict[str, str]:
    return document.get("project", {}).get("entry-points", {}).get("cipherecho.ciphers", {})


@pytest.fixture(params=PAGES, ids=[path.relative_to(ROOT).as_posix() for path in PAGES])
def page(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    """A page, with its ciphers installed for every command, and its module imported here."""
    directory = tmp_path / "checkout"
    directory.mkdir()
    for name in ("examples", "plugins", "pyproject.toml"):
        (directory / name).symlink_to(ROOT / name)
    (directory / ".venv" / "bin").mkdir(parents=True)
    (directory / ".venv" / "bin" / "activate").touch()
    site = Site(tmp_path / "site")
    site.path.mkdir()
    page = Page(request.param, directory, site)
    names = {value.partition(":")[0] for value in page.ciphers.values()}
    (name,) = names or {"no_ciphers"}
    source = "\n\n".join(
        block.text
        for block in page.blocks
        if block.language == "python"
        and not block.file
        and ".run(main" not in block.text  # test_readmes runs those
    )
    package, version = page.package
    site.install(package, page.ciphers, version=version, **{name: source})
    # By its path: were it installed for this process too, names would be ambiguous
    # where the page has `registered`.
    spec = importlib.util.spec_from_file_location(name, site.path / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    page.module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, page.module)
    spec.loader.exec_module(page.module)
    return page


def defined(page: Page) -> dict[str, object]:
    """Return what the Python blocks define, without what they import."""
    return {
        name: thing
        for name, thing in vars(page.module).items()
        if getattr(thing, "__module__", "") == page.module.__name__
    }


# A rule for each language.


def check_python(page: Page, block: Block, session: Shell) -> None:
    """It is a file, or was executed with the others; each is as it would be in a module."""
    compile(block.text, f"{page.path.name}:{block.line}", "exec")


def check_pycon(page: Page, block: Block, session: Shell) -> None:
    """What is typed has the result that is shown, after the Python blocks of the page."""
    test = doctest.DocTestParser().get_doctest(
        block.text, vars(page.module), page.path.name, str(page.path), block.line
    )
    told: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append)
    assert not told, "".join(told)


def check_toml(page: Page, block: Block, session: Shell) -> None:
    """It is TOML, and a file that commands use, or names ciphers that are on the page."""
    document = tomllib.loads(block.text)
    if block.file is None:
        points = _entry_points(document)
        assert points
        assert {value.partition(":")[2] for value in points.values()} <= defined(page).keys()


def check_shell(page: Page, block: Block, session: Shell) -> None:
    """It is a script for sh, which installs what is there.

    It is not run here, since it installs, builds, needs root, or serves for ever. test_readmes and
    test_installing paste what installs, and the tests of cipherecho-wasm build its guests.
    """
    done = subprocess.run(["sh", "-n", "-c", block.text], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in re.findall(r"[\w./-]*pip install (?:[^&;\n]*)", block.text):
        check_installs(page, command)
    for path in re.findall(r"\b(?:examples|plugins)/\S+", block.text):
        assert [one for one in ROOT.glob(path) if one.is_file() or "*" not in path], path


def check_part(page: Page, block: Block, session: Shell) -> None:
    """It is a part of a guest."""
    files = [*GUESTS.glob(f"*.{block.language}"), *GUESTS.glob(f"*/*.{block.language}")]
    assert any(block.text in file.read_text(encoding="utf-8") for file in files)


def check_console(page: Page, block: Block, session: Shell) -> None:
    """Each command prints what is shown; ``…`` stands for anything, and for any lines."""
    commands = [(one["line"], one["output"]) for one in _COMMAND.finditer(block.text)]
    assert "".join(f"$ {line}\n{output}" for line, output in commands) == block.text
    for line, output in commands:
        if line.startswith("pip install "):
            check_installs(page, line)
            assert output == ""
        else:
            printed = session.type(_at_its_port(line, output), output)
            assert agree(output, printed), f"$ {line}\n{printed}"


def _at_its_port(line: str, output: str) -> str:
    """Return a command; a server that listens at its usual port is given the one that is shown."""
    words = shlex.split(line)
    endpoint = re.search(r"tcp://[\d.]+:\d+", output)
    if words[0] != "cipherecho" or endpoint is None or {"--listen", "--config"} & set(words):
        return line
    return line.replace("cipherecho", f"cipherecho --listen {endpoint[0]}", 1)


def check_drawing(page: Page, block: Block, session: Shell) -> None:
    """It fits a terminal, and every column of it is one wide."""
    for line in block.text.splitlines():
        assert len(line) <= 80
        assert all(unicodedata.east_asian_width(one) not in "WF" for one in line)


# What may be installed from elsewhere: tools that cipherecho does not depend on.
TOOLS = {"componentize-py==0.25.1"}


def check_installs(page: Page, command: str) -> None:
    """Each package comes from the checkout, or was made on the page before."""
    _, _, arguments = command.partition("pip install ")
    for argument in shlex.split(arguments):
        if not (argument.startswith("-") or argument in TOOLS or argument.endswith(".whl")):
            project = page.directory / argument.partition("[")[0] / "pyproject.toml"
            assert project.is_file(), f"{argument} is not in the checkout"


RULES: dict[str, Callable[[Page, Block, Shell], None]] = {
    "python": check_python,
    "pycon": check_pycon,
    "toml": check_toml,
    "console": check_console,
    "sh": check_shell,
    "text": check_drawing,
    **dict.fromkeys(["c", "js", "py", "wat"], check_part),
}

# What pages have for ports; here each is one that is free.
PORTS = ("8013", "8014", "8015", "8443", "9113", "9464")


def test_every_block_is_as_its_language_has_it(page: Page, tmp_path: Path) -> None:
    text = page.path.read_text(encoding="utf-8")
    assert text.count("\n```") == 2 * len(page.blocks)
    for program in ("ncat", "openssl", "curl", "systemd-socket-activate"):
        if re.search(rf"^\$ .*\b{program}\b", text, re.MULTILINE):
            tool(program)
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    number = re.compile(rf"\b({'|'.join(PORTS)})\b")
    variables = {"PYTHONPATH": str(page.site.path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with shell(page.directory, variables) as session:
        for block in page.blocks:
            where = f"{page.path.name}:{block.line}"
            if block.language.startswith("{"):
                continue  # Sphinx's, which builds the pages with warnings as errors
            if page.path == README and block.language in ("console", "sh"):
                continue  # test_readmes pastes it
            assert block.language in RULES, f"{where}: there is no rule for {block.language!r}"
            here = replace(block, text=number.sub(lambda port: ports[port[0]], block.text))
            if here.file is not None:
                (page.directory / here.file).write_text(here.text, encoding="utf-8")
            try:
                RULES[block.language](page, here, session)
            except AssertionError as error:
                raise AssertionError(f"{where}: {error}") from error


def test_every_cipher_conforms(page: Page) -> None:
    for name, value in page.ciphers.items():
        try:
            conform(page.factory(value))
        except ConformanceError as error:
            raise AssertionError(f"{page.path.name}: {name}: {error}") from error


def test_every_cipher_is_in_the_entry_points(page: Page) -> None:
    ciphers = {
        name
        for name, thing in defined(page).items()
        if isinstance(thing, type)
        and any(hasattr(thing, shape) for shape in ("table", "encrypt", "encryptor"))
    }
    assert ciphers == {value.partition(":")[2] for value in page.ciphers.values()}


def test_every_test_that_is_shown_passes(page: Page) -> None:
    for name, thing in defined(page).items():
        if isinstance(thing, type) and issubclass(thing, CipherTests):
            for test, function in inspect.getmembers(thing, inspect.isfunction):
                if test.startswith("test_"):
                    function(thing())
        elif name.startswith("test_"):
            assert callable(thing)
            thing()


def test_every_link_leads_somewhere(page: Page) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.path.read_text(encoding="utf-8")):
        if "://" not in target:
            path, _, section = target.partition("#")
            there = page.path.parent / path if path else page.path
            assert there.exists(), target
            assert not section or section in sections(there), target


def sections(path: Path) -> set[str]:
    """Return what the headings of a page are called in links."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
