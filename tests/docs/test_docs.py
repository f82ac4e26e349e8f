"""What the README and the pages of ``docs`` show is so: every fenced block is run.

The rule for each language is in ``RULES``; a block of any other fails.  The Python blocks
of a page are one module, which is installed with the entry points of its TOML blocks.
"""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from cipherecho.testing import CipherTests, ConformanceError, conform
from tests.ciphers.test_registry import Site
from tests.helpers.certificates import Authority
from tests.helpers.running import run, run_shell, serving

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
# The guide for operators has tests of its own.
PAGES = [
    README,
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name != "operate.md"),
]

# Whole ciphers for WebAssembly. A page has parts of them, and runs the one that needs no building.
GUESTS = ROOT / "plugins" / "cipherecho-wasm" / "guests"

_FENCED = re.compile(r"^```(?P<language>.*)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE)
_COMMAND = re.compile(r"^\$ (?P<line>.*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """What stands between two fences; `line` is that of the first."""

    line: int
    language: str
    text: str


@dataclass
class Page:
    """A page, the module of its Python blocks, and where its commands run."""

    path: Path
    directory: Path
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
    page = Page(request.param, tmp_path)
    site = Site(tmp_path / "site")
    site.path.mkdir()
    names = {value.partition(":")[0] for value in page.ciphers.values()}
    (name,) = names or {"no_ciphers"}
    source = "\n\n".join(
        block.text
        for block in page.blocks
        if block.language == "python" and ".run(main" not in block.text  # test_readmes runs those
    )
    package, version = page.package
    site.install(package, page.ciphers, version=version, **{name: source})
    monkeypatch.setenv("PYTHONPATH", str(site.path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copy(GUESTS / "rot13.wat", tmp_path)
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


def check_python(page: Page, block: Block) -> None:
    """It was executed with the others, and is as it would be in a module."""
    compile(block.text, f"{page.path.name}:{block.line}", "exec")


def check_pycon(page: Page, block: Block) -> None:
    """What is typed has the result that is shown, after the Python blocks of the page."""
    test = doctest.DocTestParser().get_doctest(
        block.text, vars(page.module), page.path.name, str(page.path), block.line
    )
    told: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append)
    assert not told, "".join(told)


def check_toml(page: Page, block: Block) -> None:
    """It is TOML, and names ciphers that are on the page, or it is a configuration file."""
    document = tomllib.loads(block.text)
    if "project" not in document:
        check_configuration(page, block)
        return
    points = _entry_points(document)
    assert points
    assert {value.partition(":")[2] for value in points.values()} <= defined(page).keys()


def check_configuration(page: Page, block: Block) -> None:
    """The server takes it; the certificates that it may name are there."""
    authority = Authority.at(page.directory)
    authority.write_server()
    (page.directory / "clients.pem").write_bytes(authority.root.read_bytes())
    file = page.directory / "cipherecho.toml"
    file.write_text(block.text, encoding="utf-8")
    ended = run("--config", file, "--check-config")
    assert ended.status == 0, ended.stderr


def check_shell(page: Page, block: Block) -> None:
    """It is a script for sh. It is not run: it installs, publishes, or serves for ever."""
    done = subprocess.run(["sh", "-n", "-c", block.text], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def check_part(page: Page, block: Block) -> None:
    """It is a part of a guest."""
    files = [*GUESTS.glob(f"*.{block.language}"), *GUESTS.glob(f"*/*.{block.language}")]
    assert any(block.text in file.read_text(encoding="utf-8") for file in files)


def check_console(page: Page, block: Block) -> None:
    """Each command has the output that is shown; a line of ``…`` stands for any lines.

    A command that serves is started on a free port, and ``ncat`` is a client of it: its lines
    come by threes, what is typed and the two that answer it.
    """
    commands = [(one["line"], one["output"]) for one in _COMMAND.finditer(block.text)]
    assert "".join(f"$ {line}\n{output}" for line, output in commands) == block.text
    options: list[str] = []
    for line, output in commands:
        words = shlex.split(line, comments=True)
        if words[0] == "pip":
            assert output == ""  # it is not run; the ciphers are installed without it
        elif "--check-config" in words:
            expect_output(line, output, page.directory)
        elif words[0] == "cipherecho" and words[1].startswith("-"):
            options = [word for word in words[1:] if word != "&"]
            assert output == ("listening tcp://127.0.0.1:8013\n" if words[-1] == "&" else "")
            with serving(*options) as server:
                assert server.ask(b"") == b""
        elif words[0] == "ncat":
            with serving(*options) as server:
                typed = "".join(output.splitlines(keepends=True)[::3])
                answers = server.ask(typed.encode()).decode().splitlines(keepends=True)
            shown = output.splitlines(keepends=True)
            assert answers == [one for i, one in enumerate(shown) if i % 3]
        elif "#" in line and not output:  # what it prints is told in the comment
            assert run_shell(f"set -e; {line}", cwd=page.directory).status == 0
        else:
            expect_output(line, output, page.directory)


def expect_output(command: str, shown: str, directory: Path) -> None:
    """Run a command line; its output is what is `shown`."""
    ended = run_shell(command, cwd=directory)
    got = ended.stdout.decode() + ended.stderr
    if "…" not in map(str.strip, shown.splitlines()):
        assert got == shown
        return
    rest = iter(got.splitlines())
    for line in shown.splitlines():
        assert line.strip() == "…" or any(agree(line, other) for other in rest), f"{line}\n{got}"


def agree(one: str, other: str) -> bool:
    """Return whether two lines are the same, but for their columns and where they are cut.

    Both depend on what else is installed here.
    """
    one, other = " ".join(one.split()), " ".join(other.split())
    if one.endswith("…") and other.endswith("…"):
        shorter, longer = sorted([one[:-1], other[:-1]], key=len)
        return longer.startswith(shorter)
    return one == other


def check_drawing(page: Page, block: Block) -> None:
    """It fits a terminal, and every column of it is one wide."""
    for line in block.text.splitlines():
        assert len(line) <= 80
        assert all(unicodedata.east_asian_width(one) not in "WF" for one in line)


RULES: dict[str, Callable[[Page, Block], None]] = {
    "python": check_python,
    "pycon": check_pycon,
    "toml": check_toml,
    "console": check_console,
    "sh": check_shell,
    "text": check_drawing,
    **dict.fromkeys(["c", "js", "py", "wat"], check_part),
}


def test_every_block_is_as_its_language_has_it(page: Page) -> None:
    assert page.path.read_text(encoding="utf-8").count("\n```") == 2 * len(page.blocks)
    for block in page.blocks:
        where = f"{page.path.name}:{block.line}"
        if block.language.startswith("{"):
            continue  # Sphinx's, which builds the pages with warnings as errors
        if page.path == README and block.language in ("console", "sh"):
            continue  # test_readmes pastes it
        assert block.language in RULES, f"{where}: there is no rule for {block.language!r}"
        try:
            RULES[block.language](page, block)
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
    text = page.path.read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    sections = {title.lower().replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in sections, target
        elif "://" not in target:
            assert (page.path.parent / target).exists(), target
