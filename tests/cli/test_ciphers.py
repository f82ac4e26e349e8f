"""``cipherecho ciphers``: what is installed, and what one cipher is and takes.

With it go the other things that are known from metadata alone, and what a broken plugin
does to all of them: nothing, until somebody asks for it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import family, running
from tests.helpers.in_process import run
from tests.helpers.running import COMMAND, PATIENCE, complaint, environment, run_shell, serving
from tests.helpers.site import Site

FAMILY = Path(family.__file__).read_text()
OWN, CLASSICAL = version("cipherecho"), version("cipherecho-classical")


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Where plugins are installed for every command that the test runs."""
    path = tmp_path / "site"
    path.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(path))
    return Site(path)


def said(*arguments: str, **variables: Any) -> str:
    """Return what a command wrote, when all went well and without a complaint."""
    ended = run(*arguments, **variables)
    assert (ended.status, ended.stderr) == (0, "")
    return ended.stdout.decode()


def data(*arguments: str) -> Any:
    return json.loads(said(*arguments, "--json"))


# The list.


def test_the_list_is_grouped_by_package_with_a_line_for_each_cipher() -> None:
    groups = [group.splitlines() for group in said("ciphers", COLUMNS="120").split("\n\n")]
    packages = {lines[0]: lines[1:] for lines in groups}
    [rot13] = packages[f"cipherecho {OWN}"]
    assert rot13.split(maxsplit=3) == [
        "rot13",
        "ok",
        "toy",
        "Moves every letter 13 places along the alphabet of 26; twice is the original.",
    ]
    classical = packages[f"cipherecho-classical {CLASSICAL}"]
    names = [line.split()[0] for line in classical]
    assert {"caesar", "vigenere"} <= set(names)
    assert names == sorted(names)


def test_the_columns_of_the_list_stand_below_each_other() -> None:
    lines = [line for line in said("ciphers").splitlines() if line.startswith("  ")]
    assert len({line.index(" ok ") for line in lines}) == 1
    assert len({line.index(" toy ") for line in lines if " toy " in line}) == 1


def test_the_list_is_as_wide_as_the_terminal_at_the_most() -> None:
    assert max(map(len, said("ciphers", COLUMNS="60").splitlines()[:-1])) == 60


def test_the_list_for_programs() -> None:
    rows = data("ciphers")
    rot13 = {
        "name": "rot13",
        "package": "cipherecho",
        "version": OWN,
        "status": "ok",
        "kind": "toy",
        "summary": "Moves every letter 13 places along the alphabet of 26; twice is the original.",
    }
    assert rot13 in rows
    assert all(row.keys() == rot13.keys() for row in rows)


def test_what_means_to_keep_a_secret_is_told_from_a_toy_without_an_import(plugins: Site) -> None:
    source = """
raise RuntimeError("imported")

class Safe:
    '''Keeps   a secret.  And more.'''

    secure = True
"""
    plugins.install("acme-ciphers", {"safe": "acme:Safe"}, acme=source)
    [safe] = [row for row in data("ciphers") if row["name"] == "safe"]
    assert (safe["kind"], safe["summary"]) == ("secure", "Keeps a secret.")


def test_a_list_of_packages_allows_no_others(plugins: Site) -> None:
    plugins.install("acme-ciphers", {"wobble": "acme:Wobble"})
    plugins.install("zenith-ciphers", {"waddle": "zenith:Waddle"})
    allowed: dict[str, Any] = {"CIPHERECHO_PLUGINS": "Acme_Ciphers, other"}
    names = [row["name"] for row in json.loads(run("ciphers", "--json", **allowed).stdout)]
    assert sorted(names) == ["rot13", "wobble"]
    told = complaint(run("apply", "--cipher", "waddle", **allowed), 2)
    assert "the only packages allowed are acme-ciphers, cipherecho, other" in told
    assert len(json.loads(run("ciphers", "--json", CIPHERECHO_PLUGINS=" ").stdout)) > 2


def test_the_list_says_what_cannot_be_asked_for_by_name_alone(plugins: Site) -> None:
    names = dict.fromkeys(["rot13", "wobble", "two words"], "acme:Wobble")
    plugins.install("acme-ciphers", names)
    plugins.install("zenith-ciphers", {"Wobble": "zenith:Wobble"}, version="2.1")
    status = {(row["name"], row["package"]): row["status"] for row in data("ciphers")}
    assert status["rot13", "cipherecho"] == "ok"
    assert status["rot13", "acme-ciphers"] == "reserved"
    assert status["two words", "acme-ciphers"] == "bad name"
    assert status["wobble", "acme-ciphers"] == status["wobble", "zenith-ciphers"] == "ambiguous"


# One cipher.


def test_a_page_says_what_a_cipher_is_and_takes() -> None:
    page = said("ciphers", "caesar")
    assert page.startswith(f"caesar (cipherecho-classical {CLASSICAL}, toy)\n")
    assert "Moves every letter the same number of places" in page
    table = page.partition("Options:\n")[2].partition("\n\n")[0]
    assert " ".join(table.split()) == (
        "shift a whole number, -25 to 25 default '3' places to the right; to the left if negative"
    )


def test_a_page_says_what_is_required_and_when_there_is_nothing_to_say() -> None:
    (option,) = [line for line in said("ciphers", "Vigenere").splitlines() if "required" in line]
    assert option.split()[:3] == ["key", "text", "required"]
    assert "It takes no options." in said("ciphers", "rot13")


def test_a_page_for_programs() -> None:
    page = data("ciphers", "caesar")
    assert (page["name"], page["package"]) == ("caesar", "cipherecho-classical")
    assert page["version"] == CLASSICAL
    assert page["origin"]
    assert page["options"] == [
        {
            "name": "shift",
            "takes": "a whole number, -25 to 25",
            "required": False,
            "default": "3",
            "help": "places to the right; to the left if negative",
        }
    ]
    (key,) = data("ciphers", "vigenere")["options"]
    assert (key["required"], key["default"]) == (True, None)


@pytest.mark.parametrize("name", ["rot13", "caesar", "vigenere"])
def test_the_example_on_a_page_works_when_pasted(name: str) -> None:
    lines = said("ciphers", name).splitlines()
    place = lines.index("Example:")
    command, output = lines[place + 1].strip().removeprefix("$ "), lines[place + 2].strip()
    assert "cipherecho apply" in command
    assert output
    ended = run_shell(command)
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout.decode() == f"{output}\n"
    assert data("ciphers", name)["example"] == {"command": command, "output": output}


OPTIONS = """
from pathlib import Path
from typing import Annotated, Literal

from cipherecho.cipher import Range

class Wobble:
    '''Leaves every line as it is.'''

    table = bytes(range(256))

    def __init__(
        self,
        ratio: Annotated[float, Range(0, 1), "how much,\\n at most"] = 0.5,
        *,
        kind: Literal["soft", "hard"] = "soft",
        word_list: Path | None = None,
        loud: bool = False,
        tag: str = "",
    ):
        pass
"""


def test_a_page_shows_options_of_every_type(plugins: Site) -> None:
    plugins.install("acme-ciphers", {"wobble": "acme:Wobble"}, acme=OPTIONS)
    page = said("ciphers", "wobble")
    table = page.partition("Options:\n")[2].partition("\n\n")[0]
    assert [" ".join(line.split()) for line in table.splitlines()] == [
        "ratio a number, 0 to 1 default '0.5' how much, at most",
        "kind one of soft, hard default 'soft'",
        "word-list a path optional",
        "loud yes or no default 'no'",
        "tag text default ''",
    ]
    # It has no vectors, and its example works nevertheless.
    example = data("ciphers", "wobble")["example"]
    assert example["output"] == "Attack at dawn!"
    assert run_shell(example["command"]).stdout == b"Attack at dawn!\n"


REVERSE = """
class Reverse:
    vectors = {vectors}

    def encrypt(self, body):
        return body[::-1]
"""


def test_the_example_of_a_name_that_two_packages_have_names_the_package(plugins: Site) -> None:
    reverse = REVERSE.format(vectors=())
    plugins.install(
        "acme-ciphers", {"rot13": "acme:Reverse", "wobble": "acme:Reverse"}, acme=reverse
    )
    plugins.install("zenith-ciphers", {"wobble": "zenith:Wobble"})
    for name in ("rot13@acme-ciphers", "wobble@acme-ciphers"):
        example = data("ciphers", name)["example"]
        assert example["command"].endswith(f"--cipher {name}")
        assert run_shell(example["command"]).stdout == b"!nwad ta kcattA\n"
        assert example["output"] == "!nwad ta kcattA"


@pytest.mark.parametrize("vectors", ["7", "[('abc', 'cba')]", "[Vector('a', 'a', '', 'key=7')]"])
def test_vectors_that_are_no_good_do_not_cost_the_page(plugins: Site, vectors: str) -> None:
    source = "from cipherecho.cipher import Vector\n" + REVERSE.format(vectors=vectors)
    plugins.install("acme-ciphers", {"wobble": "acme:Reverse"}, acme=source)
    assert "\n  $ echo 'Attack at dawn!' | " in said("ciphers", "wobble")


def test_an_example_that_shells_would_change_is_written_otherwise(plugins: Site) -> None:
    source = "from cipherecho.cipher import Vector\n" + REVERSE.format(
        vectors=r"[Vector('-n a\\tb\'c', '', '')]"
    )
    plugins.install("acme-ciphers", {"wobble": "acme:Reverse"}, acme=source)
    example = data("ciphers", "wobble")["example"]
    assert run_shell(example["command"]).stdout == rb"c'bt\a n-" + b"\n"


LONG = """
from typing import Annotated

class Wobble:
    \"\"\"Wobbles.

    A paragraph whose lines are as long as their author likes, such as those of a hundred letters,
    is wrapped anew.

        $ an example keeps its lines, however long they may be, since somebody will paste them
    \"\"\"

    table = bytes(range(256))

    def __init__(self, key: Annotated[str, "word " * 30], {others}):
        pass
"""


@pytest.mark.parametrize(
    "others", ["", 'kind: Literal["chacha20-poly1305", "aes-256-gcm"] = "aes-256-gcm"']
)
def test_a_page_fits_a_terminal_of_80_columns(plugins: Site, others: str) -> None:
    source = "from typing import Literal\n" + LONG.replace("{others}", others)
    plugins.install("acme-ciphers", {"wobble": "acme:Wobble"}, acme=source)
    page = run("ciphers", "wobble", COLUMNS="80").stdout.decode()
    [paragraph] = re.findall(r"^A paragraph(?:.+\n)+", page, re.MULTILINE)
    assert paragraph == (
        "A paragraph whose lines are as long as their author likes, such as those of a\n"
        "hundred letters, is wrapped anew.\n"
    )
    too_long = [line.strip()[:20] for line in page.splitlines() if len(line) > 80]
    assert too_long == ["$ an example keeps i"]
    assert page.count("word") == 30


def test_a_page_is_shown_where_the_encoding_lacks_a_letter() -> None:
    ended = running.run("ciphers", "vigenere", PYTHONIOENCODING="ascii")
    assert rb"Blaise de Vigen\xe8re" in ended.stdout


@pytest.mark.parametrize("arguments", [["ciphers"], ["ciphers", "rot13"], ["--help"]])
def test_it_is_quiet_when_the_reader_has_gone(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as output:
        ended = subprocess.run(
            [COMMAND, *arguments],
            stdout=output,
            stderr=subprocess.PIPE,
            env=environment(),
            timeout=PATIENCE,
            check=False,
        )
    assert ended.stderr == b""


def test_the_options_that_a_page_is_asked_for_with_are_those_of_its_example() -> None:
    example = data("ciphers", "caesar:5")["example"]
    assert example["command"].endswith("--cipher caesar:5")
    assert run_shell(example["command"]).stdout.decode() == example["output"] + "\n"
    assert "option shift: got '99'" in complaint(run("ciphers", "caesar:99"), 2)


# A family, and a member of one.


@pytest.fixture
def moved(plugins: Site) -> None:
    """Have the family ``moved`` installed, in which `unit` is the name of another option."""
    plugins.install("acme-ciphers", {"moved": "acme:Moved"}, acme=FAMILY)


FAMILY_PAGE = """\
moved (acme-ciphers 1.0, toy)
a family of ciphers, which have options of their own besides

Moves letters, so many places as an option says that has the name of the unit.

Options:
  unit  text       required      its name
  left  yes or no  default 'no'

Example:
  $ echo 'Attack at dawn!' | cipherecho apply --cipher 'moved:unit=…'
"""


@pytest.mark.usefixtures("moved")
def test_the_page_of_a_family_is_shown_without_a_member() -> None:
    assert said("ciphers", "moved") == FAMILY_PAGE
    page = data("ciphers", "moved")
    assert (page["family"], page["member"]) == (True, None)


MEMBER_PAGE = """\
moved:unit=big-steps,left=yes (acme-ciphers 1.0, toy)
of the family moved, whose options are the last

Moves letters by big-steps.

And leaves the rest.

Options:
  big-steps  a whole number, 0 to 25  required        how many big-steps
  case       one of both              default 'both'  which letters
  note       text                     optional
  unit       text                     required        its name
  left       yes or no                default 'no'

Example:
  $ echo abc | cipherecho apply --cipher moved:unit=big-steps,left=yes,big-steps=3
  xyz
"""


@pytest.mark.usefixtures("moved")
def test_the_page_of_a_member_has_its_own_options_and_those_of_its_family() -> None:
    assert said("ciphers", "moved:unit=big-steps,left=yes") == MEMBER_PAGE


@pytest.mark.parametrize(
    ("asked", "made_of"),
    [
        ("moved:steps", "moved:steps,steps=3"),
        ("moved:left=no,unit=steps", "moved:left=no,unit=steps,steps=3"),
        ("Moved:steps,steps=4,left=yes", "moved:steps,steps=4,left=yes"),
    ],
)
@pytest.mark.usefixtures("moved")
def test_the_example_of_a_member_works_when_pasted(asked: str, made_of: str) -> None:
    page = data("ciphers", asked)
    assert page["family"]
    assert page["member"] == made_of.replace(",steps=3", "").replace(",steps=4", "")
    assert page["example"]["command"].endswith(f"--cipher {made_of}")
    assert run_shell(page["example"]["command"]).stdout.decode() == page["example"]["output"] + "\n"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("moved:leagues", "option unit: got 'leagues', expected the name of a unit"),
        ("moved:steps,setps=3", "cipher 'moved:steps,setps=3': got unknown option setps"),
        ("moved:nothing", "can't be used: it is a family, and made None"),
        ("moved:", "expected options after ':', or no ':'"),
    ],
)
@pytest.mark.usefixtures("moved")
def test_a_member_that_cannot_be_had_is_one_complaint(asked: str, told: str) -> None:
    assert told in complaint(run("ciphers", asked), 2)


# A plugin that is broken: nobody notices, but who asks for it.


@pytest.fixture
def broken(plugins: Site) -> str:
    """What a complaint about the plugin ``wobble``, which can't be imported, has to say."""
    plugins.install(
        "acme-ciphers",
        {"wobble": "acme_trap:Wobble"},
        version="2.1",
        acme_trap="raise RuntimeError('the trap was imported')",
    )
    return (
        f"wobble (acme-ciphers 2.1, acme_trap:Wobble, from {plugins.path}) can't be imported: "
        "RuntimeError: the trap was imported"
    )


@pytest.mark.usefixtures("broken")
def test_a_broken_plugin_disturbs_nobody() -> None:
    assert said("--help")
    assert said("apply", "--help")
    [row] = [row for row in data("ciphers") if row["name"] == "wobble"]
    assert (row["package"], row["version"], row["status"]) == ("acme-ciphers", "2.1", "ok")
    assert said("ciphers", "caesar")
    with serving("--cipher", "rot13", "--cipher", "caesar:13") as server:
        assert server.ask(b"Hello\n") == b"Hello\nHello\n"
        assert server.stop() == 0
    assert "trap" not in server.stderr
    assert "wobble" in completions("cipherecho --cipher wob")


@pytest.mark.parametrize(
    "arguments",
    [["--cipher", "wobble"], ["apply", "--cipher", "wobble"], ["ciphers", "wobble"]],
    ids=["serve", "apply", "ciphers"],
)
def test_a_broken_plugin_is_named_with_its_origin_and_the_cause(
    broken: str, arguments: list[str]
) -> None:
    # Were this socket tried first, there would be another complaint.
    where: dict[str, Any] = {"CIPHERECHO_LISTEN": "unix:///no-such-directory/socket"}
    assert broken in complaint(run(*arguments, **where), 2)


# Completion, as a shell asks for it.


def completions(words: str) -> list[str]:
    """Return what bash is told for the last of `words`, which may be empty."""
    text = said(
        _CIPHERECHO_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(words.count(" "))
    )
    return [line.removeprefix("plain,") for line in text.splitlines()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("cipherecho --cipher rot1", ["rot13"]),
        ("cipherecho --cipher vig", ["vigenere"]),
        ("cipherecho --cipher rot13 --cipher cae", ["caesar"]),
        ("cipherecho apply --cipher rot1", ["rot13"]),
        ("cipherecho ciphers rot1", ["rot13"]),
        ("cipherecho a", ["apply"]),
        ("cipherecho apply --dec", ["--decrypt"]),
        ("cipherecho --reply c", ["cipher"]),
        # What is wrong already is told when the command is run, not while it is typed.
        ("cipherecho aply --cipher rot1", ["rot13"]),
        ("cipherecho --cipher rot13: --cipher rot1", ["rot13"]),
    ],
)
def test_a_shell_completes_names(words: str, expected: list[str]) -> None:
    assert completions(words) == expected


def test_a_shell_is_told_every_name(plugins: Site) -> None:
    plugins.install("acme-ciphers", {"two words": "acme:Wobble", "wobble": "acme:Wobble"})
    names = completions("cipherecho --cipher ")
    assert {"caesar", "rot13", "vigenere", "wobble"} <= set(names)
    assert "two words" not in names


def test_a_cipher_that_its_defaults_do_not_make_still_has_its_page(plugins: Site) -> None:
    source = """
class Needs:
    '''Needs one of two.'''

    def __init__(self, a: str = "", b: str = ""):
        if not a and not b:
            raise ValueError("give a or b")

    def encrypt(self, body):
        return body
"""
    plugins.install("acme-ciphers", {"needs": "needs:Needs"}, needs=source)
    ended = run("ciphers", "needs")
    assert ended.status == 0
    assert b"Needs one of two." in ended.stdout
    assert b"a  text  default ''" in ended.stdout


def test_what_a_plugin_prints_does_not_get_into_its_page(plugins: Site) -> None:
    source = "print('hello')\n\nclass Chatty:\n    def encrypt(self, body):\n        return body\n"
    plugins.install("acme-ciphers", {"chatty": "chatty:Chatty"}, chatty=source)
    ended = run("ciphers", "chatty", "--json")
    assert json.loads(ended.stdout)["name"] == "chatty"
    assert ended.stderr == "hello\n"


def test_escapes_in_the_help_of_a_plugin_do_not_reach_the_terminal(plugins: Site) -> None:
    source = "class Red:\n    __doc__ = '\\x1b[31mred'\n    def encrypt(self, body): return body\n"
    plugins.install("acme-ciphers", {"red": "red:Red"}, red=source)
    ended = run("ciphers", "red")
    assert b"\x1b" not in ended.stdout
    assert b"\\x1b[31mred" in ended.stdout


def test_a_page_that_cannot_be_made_is_one_complaint(plugins: Site) -> None:
    source = """
class Meta(type):
    @property
    def vectors(cls):
        raise ZeroDivisionError("no vectors today")

class Odd(metaclass=Meta):
    def encrypt(self, body):
        return body
"""
    plugins.install("acme-ciphers", {"odd": "odd:Odd"}, odd=source)
    ended = run("ciphers", "odd")
    assert complaint(ended, 2).endswith("can't be shown: ZeroDivisionError: no vectors today\n")


@pytest.mark.parametrize("command", ["ciphers", "--help", "ciphers rot13"])
def test_a_full_disk_is_told_of_any_output(command: str) -> None:
    ended = run_shell(f"cipherecho {command} >/dev/full")
    assert complaint(ended, 1) == "cipherecho: No space left on device\n"
