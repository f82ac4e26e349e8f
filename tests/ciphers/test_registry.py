"""Which ciphers are installed, and the one that is asked for.

Every plugin here is really installed: it has a module, and a ``dist-info`` directory
with metadata, in a directory that is on the import path.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator, Mapping
from math import inf
from pathlib import Path

import pytest

from cipherecho.cipher import Cipher
from cipherecho.ciphers.coder import Coder
from cipherecho.ciphers.composition import NoInverseError
from cipherecho.ciphers.options import BadOptionError, SchemaError
from cipherecho.ciphers.shapes import NotACipherError
from cipherecho.ciphers.specification import SelectionError, parse
from cipherecho.registry import (
    AmbiguousCipherError,
    BrokenCipherError,
    Entry,
    IncompatibleCipherError,
    NotInvertibleError,
    Registry,
    UnknownCipherError,
)
from cipherecho.rot13 import Rot13
from tests.helpers import family
from tests.helpers.site import Site


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the metadata of cipherecho alone."""
    directory = tmp_path_factory.mktemp("ours")
    files = importlib.metadata.files("cipherecho") or ()
    [metadata] = [file for file in files if file.match("*.dist-info/METADATA")]
    info = Path(metadata.locate()).parent
    (directory / info.name).symlink_to(info)
    return directory


@pytest.fixture
def site(tmp_path: Path, ours: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site that comes before cipherecho itself, which is all that is installed."""
    monkeypatch.syspath_prepend(ours)  # keeps what the path is now, and restores it
    # Most of the time would go to a hundred packages that have no ciphers.
    sys.path[:] = [place for place in sys.path if not place.endswith("-packages")]
    yield _new_site(tmp_path / "site", monkeypatch)
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def earlier_site(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site that comes even before `site`."""
    return _new_site(tmp_path / "earlier-site", monkeypatch)


def _new_site(path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    path.mkdir()
    monkeypatch.syspath_prepend(path)
    return Site(path)


REVERSE = """
class Reverse:
    def encrypt(self, body):
        return body[::-1]

    decrypt = encrypt
"""

FAMILY = Path(family.__file__).read_text()

# Whoever imports it gets to know.
TRAP = "raise RuntimeError('the trap was imported')"


def of_package(registry: Registry, package: str) -> list[Entry]:
    return [entry for entry in registry.entries if entry.package == package]


def coded(cipher: Cipher, body: bytes) -> bytes:
    return Coder(cipher, inf).code(body, b"\n")


# Listing.


def test_listing_imports_nothing_and_says_where_ciphers_are(site: Site) -> None:
    site.install(
        "acme-ciphers",
        {"wobble": "acme_trap:Wobble", "Glide_Fast": "acme_trap:glide"},
        version="2.1",
        acme_trap=TRAP,
    )
    registry = Registry()

    glide, wobble = of_package(registry, "acme-ciphers")

    assert (wobble.name, wobble.value) == ("wobble", "acme_trap:Wobble")
    assert (wobble.package, wobble.version) == ("acme-ciphers", "2.1")
    assert wobble.origin == str(site.path)
    assert str(wobble) == f"wobble (acme-ciphers 2.1, acme_trap:Wobble, from {site.path})"
    assert (glide.name, glide.value) == ("glide-fast", "acme_trap:glide")
    assert [registry.status(entry) for entry in (glide, wobble)] == ["ok", "ok"]
    assert "acme_trap" not in sys.modules


def test_ciphers_are_listed_by_name_then_by_package(site: Site) -> None:
    site.install("zenith-ciphers", {"glide": "zenith:Glide", "wobble": "zenith:Wobble"})
    site.install("acme-ciphers", {"wobble": "acme:Wobble"})

    listed = [
        (entry.name, entry.package)
        for entry in Registry().entries
        if entry.package in ("acme-ciphers", "zenith-ciphers", "cipherecho")
    ]

    assert listed == [
        ("glide", "zenith-ciphers"),
        ("rot13", "cipherecho"),
        ("wobble", "acme-ciphers"),
        ("wobble", "zenith-ciphers"),
    ]


EDITABLE = '{"url": "file:///home/ada/acme", "dir_info": {"editable": true}}'


@pytest.mark.parametrize(
    ("direct_url", "origin"),
    [
        (EDITABLE, "file:///home/ada/acme"),
        # What can't be read says nothing, and is no reason to fail.
        ("{", None),
        ("[]", None),
        ('{"dir_info": {}}', None),
    ],
)
def test_the_origin_is_a_url_if_there_is_one(
    site: Site, direct_url: str, origin: str | None
) -> None:
    info = site.install("acme-ciphers", {"wobble": "acme:Wobble"})
    (info / "direct_url.json").write_text(direct_url)
    assert Registry().find("wobble").origin == (origin or str(site.path))


def test_a_status_is_known_from_metadata_alone(site: Site) -> None:
    site.install(
        "acme-ciphers",
        {
            "glide": "acme_trap:Glide",
            "rot13": "acme_trap:Rot13",
            "two words": "acme_trap:Words",
            "wobble": "acme_trap:Wobble",
        },
        acme_trap=TRAP,
    )
    site.install("zenith-ciphers", {"Wobble": "zenith_trap:Wobble"}, zenith_trap=TRAP)
    registry = Registry()

    assert {
        entry.name: registry.status(entry) for entry in of_package(registry, "acme-ciphers")
    } == {
        "glide": "ok",
        "rot13": "reserved",
        "two words": "bad name",
        "wobble": "ambiguous",
    }
    (other_wobble,) = of_package(registry, "zenith-ciphers")
    assert registry.status(other_wobble) == "ambiguous"
    (rot13,) = of_package(registry, "cipherecho")
    assert registry.status(rot13) == "ok"


# Finding one, and loading it.


@pytest.mark.parametrize("declared", ["rail-fence", "Rail_Fence", "rail.fence"])
def test_names_are_the_same_in_any_case_and_with_any_separator(site: Site, declared: str) -> None:
    # One that no package that is installed for the tests has.
    site.install("Acme_Ciphers", {f"acme-{declared}": "acme:Fence"})
    registry = Registry()
    for asked in ("acme-rail-fence", "Acme-Rail-Fence", "acme_rail_fence", "ACME.RAIL.FENCE"):
        assert registry.find(asked).package == "Acme_Ciphers"
        assert registry.find(asked, "ACME.ciphers").package == "Acme_Ciphers"


def test_loading_a_cipher_imports_it_alone(site: Site) -> None:
    site.install(
        "acme-ciphers",
        {"wobble": "acme_reverse:Reverse", "glide": "acme_trap:Glide"},
        acme_reverse=REVERSE,
        acme_trap=TRAP,
    )
    site.install("zenith-ciphers", {"slide": "zenith_trap:Slide"}, zenith_trap=TRAP)

    cipher = Registry().load(parse("wobble"))

    assert coded(cipher, b"abc") == b"cba"
    assert sys.modules.keys() & {"acme_reverse", "acme_trap", "zenith_trap"} == {"acme_reverse"}


OF_EVERY_KIND = """
from dataclasses import dataclass

def function(suffix: str = "."):
    return DataClass(suffix)

class Class:
    def __init__(self, suffix: str = "."):
        self.suffix = suffix

    def encrypt(self, body):
        return body + self.suffix.encode()

    class Inner:
        def encryptor(self):
            return lambda body: body + b"."

@dataclass(frozen=True)
class DataClass(Class):
    suffix: str = "."
"""


@pytest.mark.parametrize("attribute", ["function", "Class", "Class.Inner", "DataClass"])
def test_a_factory_is_any_function_or_class(site: Site, attribute: str) -> None:
    site.install("acme-ciphers", {"wobble": f"acme_kinds:{attribute}"}, acme_kinds=OF_EVERY_KIND)
    assert coded(Registry().load(parse("wobble")), b"abc") == b"abc."


def test_options_reach_the_factory(site: Site) -> None:
    site.install("acme-ciphers", {"wobble": "acme_kinds:DataClass"}, acme_kinds=OF_EVERY_KIND)
    assert coded(Registry().load(parse("wobble:suffix=!")), b"abc") == b"abc!"


@pytest.mark.parametrize("text", ["rot13", "ROT13", "rot13@cipherecho"])
def test_a_built_in_cipher_costs_no_scan(text: str) -> None:
    registry = Registry()
    assert type(registry.load(parse(text))) is Rot13
    registry.load_chain([parse(text)])
    assert "entries" not in vars(registry)


def test_an_empty_dist_info_does_not_hide_the_built_in_ciphers(site: Site) -> None:
    site.leave_behind("cipherecho-0.0")
    assert type(Registry().load(parse("rot13"))) is Rot13
    assert len(of_package(Registry(), "cipherecho")) == 1


# Not installed.


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("glied", "cipher 'glied' is not installed; did you mean glide?"),
        ("wobbly", "cipher 'wobbly' is not installed; did you mean wobble or wobble-two?"),
        (
            "wobble@zenith-ciphers",
            "cipher 'wobble' is not in the package 'zenith-ciphers'; it is in acme-ciphers",
        ),
        (
            "wobbel@acme-ciphers",
            "cipher 'wobbel' is not in the package 'acme-ciphers'; no package has it",
        ),
        (
            "two words@acme-ciphers",
            "cipher 'two words' is not in the package 'acme-ciphers'; no package has it",
        ),
    ],
)
def test_a_cipher_that_is_not_installed(site: Site, asked: str, message: str) -> None:
    site.install(
        "acme-ciphers",
        {
            "glide": "acme_trap:Glide",
            "wobble": "acme_trap:Wobble",
            "wobble-two": "acme_trap:Wobble2",
            "two words": "acme_trap:Words",
        },
        acme_trap=TRAP,
    )
    with pytest.raises(UnknownCipherError) as refusal:
        Registry().load(parse(asked))
    assert str(refusal.value) == message


def test_a_name_like_no_other_is_answered_with_all_that_can_be_asked_for(site: Site) -> None:
    site.install("acme-ciphers", {"wobble": "acme:Wobble", "two words": "acme:Words"})
    site.install("zenith-ciphers", {"wobble": "zenith:Wobble"})
    with pytest.raises(UnknownCipherError) as refusal:
        Registry().find("zzzzzzzz")
    problem, _, names = str(refusal.value).partition("; there are: ")
    assert problem == "cipher 'zzzzzzzz' is not installed"
    assert {"rot13", "wobble"} <= set(names.split(", "))
    assert "two words" not in names
    assert names.split(", ") == sorted(set(names.split(", ")))


def test_nothing_at_all_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    # The standard library and nothing else.
    directories = [path for path in sys.path if not any(Path(path).glob("*.dist-info"))]
    monkeypatch.setattr(sys, "path", directories)
    with pytest.raises(UnknownCipherError) as refusal:
        Registry().load(parse("rot13"))
    assert str(refusal.value) == (
        "cipher 'rot13' is not installed, nor is any; is cipherecho itself installed?"
    )


@pytest.mark.parametrize("name", ["two words", "wobble+", "-wobble", "wobble-", "a--b", "größe"])
def test_a_bad_name_is_listed_as_such_and_never_found(site: Site, name: str) -> None:
    info = site.install("acme-ciphers", {}, acme_trap=TRAP)
    points = f"[cipherecho.ciphers]\n{name} = acme_trap:Wobble\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    registry = Registry()

    (entry,) = of_package(registry, "acme-ciphers")
    assert (entry.name, registry.status(entry)) == (name, "bad name")
    with pytest.raises(UnknownCipherError):
        registry.find(name)
    with pytest.raises(UnknownCipherError):
        registry.find(name, "acme-ciphers")


# Claimed more than once.


def test_two_packages_claim_one_name(site: Site) -> None:
    site.install("acme-ciphers", {"wobble": "acme_reverse:Reverse"}, acme_reverse=REVERSE)
    site.install("zenith-ciphers", {"Wobble": "zenith_trap:Wobble"}, zenith_trap=TRAP)
    registry = Registry()

    with pytest.raises(AmbiguousCipherError) as refusal:
        registry.load(parse("wobble"))

    assert str(refusal.value) == (
        "cipher 'wobble' is claimed by acme-ciphers 1.0 (acme_reverse:Reverse) and "
        "zenith-ciphers 1.0 (zenith_trap:Wobble); write wobble@acme-ciphers for the first"
    )
    assert [entry.package for entry in refusal.value.entries] == ["acme-ciphers", "zenith-ciphers"]
    assert coded(registry.load(parse("wobble@acme-ciphers")), b"abc") == b"cba"
    with pytest.raises(BrokenCipherError, match="the trap was imported"):
        registry.load(parse("wobble@zenith-ciphers"))


def test_one_package_claims_a_name_twice(site: Site) -> None:
    site.install(
        "acme-ciphers", {"wob-ble": "acme_trap:One", "Wob_Ble": "acme_trap:Two"}, acme_trap=TRAP
    )
    registry = Registry()

    for asked in ("wob-ble", "wob-ble@acme-ciphers"):
        with pytest.raises(AmbiguousCipherError) as refusal:
            registry.load(parse(asked))
        assert str(refusal.value) == (
            "cipher 'wob-ble' is claimed by acme-ciphers 1.0 (acme_trap:One) and "
            "acme-ciphers 1.0 (acme_trap:Two); one of its entry points has to be renamed"
        )
        assert [entry.value for entry in refusal.value.entries] == [
            "acme_trap:One",
            "acme_trap:Two",
        ]


def test_a_built_in_name_stays_ours(site: Site) -> None:
    site.install("acme-ciphers", {"Rot13": "acme_reverse:Reverse"}, acme_reverse=REVERSE)
    registry = Registry()

    assert type(registry.load(parse("rot13"))) is Rot13
    assert type(registry.load(parse("rot13@cipherecho"))) is Rot13
    assert "acme_reverse" not in sys.modules

    assert coded(registry.load(parse("rot13@acme-ciphers")), b"abc") == b"cba"


# Broken.

RAISES_WHEN_MADE = """
class Wobble:
    def __init__(self):
        raise OSError("no dictionary on this machine")
"""

EXITS_WHEN_MADE = """
import sys

class Wobble:
    def __init__(self):
        sys.exit("no licence")
"""

RAISES_WHEN_LOOKED_AT = """
class Wobble:
    @property
    def table(self):
        raise KeyError("alphabet")
"""


@pytest.mark.parametrize(
    ("value", "source", "what", "cause", "message"),
    [
        ("acme:Wobble", TRAP, "imported", RuntimeError, "the trap was imported"),
        ("acme:Wobble", "import acme_dep", "imported", ModuleNotFoundError, "named 'acme_dep'"),
        ("acme:Wobble", "class:", "imported", SyntaxError, "invalid syntax"),
        ("acme:Wobble", "raise SystemExit(3)", "imported", SystemExit, "3"),
        ("acme:Wobble", "", "imported", AttributeError, "no attribute 'Wobble'"),
        ("acme_gone:Wobble", "", "imported", ModuleNotFoundError, "named 'acme_gone'"),
        ("acme-gone:Wobble", "", "imported", ValueError, "acme-gone:Wobble"),
        ("acme:Wobble", RAISES_WHEN_MADE, "made", OSError, "no dictionary on this machine"),
        ("acme:Wobble", EXITS_WHEN_MADE, "made", SystemExit, "no licence"),
        ("acme:Wobble", RAISES_WHEN_LOOKED_AT, "made", KeyError, "alphabet"),
    ],
)
def test_a_broken_plugin_is_named_with_its_origin_and_the_cause(
    site: Site, value: str, source: str, what: str, cause: type[BaseException], message: str
) -> None:
    site.install(
        "acme-ciphers",
        {"wobble": value, "glide": "acme_reverse:Reverse"},
        acme=source,
        acme_reverse=REVERSE,
    )
    registry = Registry()

    assert coded(registry.load(parse("glide")), b"abc") == b"cba"  # and nobody notices

    with pytest.raises(BrokenCipherError) as refusal:
        registry.load(parse("wobble"))
    raised = refusal.value.__cause__
    assert type(raised) is cause
    assert message in str(raised)
    assert str(refusal.value) == (
        f"cipher wobble (acme-ciphers 1.0, {value}, from {site.path}) can't be {what}: "
        f"{cause.__name__}: {raised}"
    )
    assert refusal.value.entry == registry.find("wobble")


@pytest.mark.parametrize(
    "source", ["raise KeyboardInterrupt", "def Wobble():\n    raise KeyboardInterrupt"]
)
def test_an_interrupt_is_not_the_plugins_fault(site: Site, source: str) -> None:
    site.install("acme-ciphers", {"wobble": "acme:Wobble"}, acme=source)
    with pytest.raises(KeyboardInterrupt):
        Registry().load(parse("wobble"))


# Incompatible.

NO_SHAPE = (
    "expected a cipher: an object with a table of 256 bytes, a method encrypt, "
    "or a method encryptor"
)


def with_table(table: str) -> str:
    return f"class Wobble:\n    table = {table}\n"


def with_swapped(one: str, other: str) -> str:
    return with_table(f"bytes.maketrans(b'{one}{other}', b'{other}{one}')")


@pytest.mark.parametrize(
    ("source", "problem", "cause"),
    [
        ("Wobble = 7", "7 is no class or function", None),
        ("class Wobble: pass", f"got an object of type Wobble, {NO_SHAPE}", NotACipherError),
        ("def Wobble(): pass", f"got None, {NO_SHAPE}", NotACipherError),
        (
            "class Wobble: encrypt = 'ABC'",
            f"got an object of type Wobble, {NO_SHAPE}",
            NotACipherError,
        ),
        (
            with_table("bytes(range(255))"),
            "the table of an object of type Wobble is an object of type bytes of 255, "
            "expected bytes of length 256",
            NotACipherError,
        ),
        (
            with_table("list(range(256))"),
            "the table of an object of type Wobble is an object of type list, "
            "expected bytes of length 256",
            NotACipherError,
        ),
        (
            with_table("bytes.maketrans(b'AB', b'CC')"),
            "the table of an object of type Wobble replaces 3 bytes by 0x43, expected a bijection",
            NotACipherError,
        ),
        (
            with_swapped(r"\n", "A"),
            "the table of an object of type Wobble replaces LF or CR, expected both to stay",
            NotACipherError,
        ),
        (
            with_swapped(r"\r", "A"),
            "the table of an object of type Wobble replaces LF or CR, expected both to stay",
            NotACipherError,
        ),
        (
            "def Wobble(key: bytes = b''): pass",
            "parameter key: bytes = b'' has a type that an option can't have; expected int, "
            "float, str, bool, pathlib.Path, a Literal of strings, or one of these | None",
            SchemaError,
        ),
    ],
)
def test_a_plugin_that_does_not_keep_the_contract(
    site: Site, source: str, problem: str, cause: type[Exception] | None
) -> None:
    site.install("acme-ciphers", {"wobble": "acme:Wobble"}, acme=source)
    registry = Registry()
    with pytest.raises(IncompatibleCipherError) as refusal:
        registry.load(parse("wobble"))
    assert str(refusal.value) == (
        f"cipher wobble (acme-ciphers 1.0, acme:Wobble, from {site.path}) can't be used: {problem}"
    )
    assert refusal.value.entry == registry.find("wobble")
    assert type(refusal.value.__cause__) is (cause or type(None))


def test_an_entry_point_that_names_a_module_is_incompatible(site: Site) -> None:
    site.install("acme-ciphers", {"wobble": "acme"}, acme="")
    with pytest.raises(IncompatibleCipherError, match=r"<module 'acme' .* is no class or function"):
        Registry().load(parse("wobble"))


def test_a_family_is_asked_for_by_its_member(site: Site) -> None:
    site.install("acme-ciphers", {"moved": "acme_moved:Moved"}, acme_moved=FAMILY)
    registry = Registry()
    there = [parse("moved:steps,steps=3"), parse("moved:unit=furlongs,furlongs=4")]
    assert coded(registry.load_chain(there), b"abc") == b"hij"
    assert coded(registry.load_chain(there, decrypt=True), b"hij") == b"abc"


@pytest.mark.parametrize("unit", ["nothing", "families", "left"])
def test_a_family_that_makes_what_it_must_not_is_incompatible(site: Site, unit: str) -> None:
    site.install("acme-ciphers", {"moved": "acme_moved:Moved"}, acme_moved=FAMILY)
    with pytest.raises(IncompatibleCipherError, match=r"moved \(acme-ciphers .* family"):
        Registry().load(parse(f"moved:{unit}"))


# Badly configured.

WITH_KEY = """
from cipherecho.cipher import OptionError

class Wobble:
    def __init__(self, key: str):
        if not key.isalpha():
            raise OptionError("key", key, "letters A-Z")
        self.table = bytes(range(256))
"""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("wobble", "option key is missing, expected text"),
        ("wobble:kye=Lemon", "got unknown option kye; did you mean key?"),
        ("wobble:4711", "option key: got '4711', expected letters A-Z"),
    ],
)
def test_a_badly_configured_plugin_is_not_a_broken_one(site: Site, text: str, problem: str) -> None:
    site.install("acme-ciphers", {"wobble": "acme:Wobble"}, acme=WITH_KEY)
    with pytest.raises(BadOptionError) as refusal:
        Registry().load(parse(text))
    assert str(refusal.value) == f"cipher '{text}': {problem}"
    assert refusal.value.specification == parse(text)


def test_every_reason_why_a_cipher_cannot_be_used_is_a_selection_error() -> None:
    for reason in (
        UnknownCipherError,
        AmbiguousCipherError,
        BrokenCipherError,
        IncompatibleCipherError,
        BadOptionError,
        NotInvertibleError,
    ):
        assert issubclass(reason, SelectionError)
        # None is a case of another, so whoever catches one has just that one.
        assert reason.__bases__ == (SelectionError,)


# Other people's metadata.

OURS = b"[cipherecho.ciphers]\nslide = other:Slide\n"
METADATA = b"Metadata-Version: 2.1\nName: other\nVersion: 1.0\n"


@pytest.mark.parametrize(
    "files",
    [
        {"METADATA": METADATA, "entry_points.txt": b"[console_scripts]\nno equals sign\n"},
        {"METADATA": METADATA, "entry_points.txt": b"[cipherecho.ciphers]\nno equals sign\n"},
        {"METADATA": METADATA, "entry_points.txt": "[console_scripts]\nö = a:b".encode("latin-1")},
        {"entry_points.txt": OURS},
        {"METADATA": b"", "entry_points.txt": OURS},
        {"METADATA": b"Name: other\n", "entry_points.txt": OURS},
        {"METADATA": b"Version: 1.0\n", "entry_points.txt": OURS},
        {"METADATA": "Name: öther\n".encode("latin-1"), "entry_points.txt": OURS},
    ],
    ids=[
        "malformed entry points",
        "malformed entry points of our group",
        "entry points not in UTF-8",
        "no metadata",
        "empty metadata",
        "no version",
        "no name",
        "metadata not in UTF-8",
    ],
)
def test_a_foreign_distribution_does_not_break_the_scan(
    site: Site, files: Mapping[str, bytes]
) -> None:
    foreign = site.leave_behind("other-1.0")
    for name, content in files.items():
        (foreign / name).write_bytes(content)
    site.install("acme-ciphers", {"wobble": "acme_reverse:Reverse"}, acme_reverse=REVERSE)
    registry = Registry()

    names = [entry.name for entry in registry.entries]
    assert [names.count(name) for name in ("wobble", "rot13", "slide")] == [1, 1, 0]
    assert all(str(entry) for entry in registry.entries)
    assert coded(registry.load(parse("wobble")), b"abc") == b"cba"


@pytest.fixture(params=["scanned at once", "scanned one by one"])
def scan(request: pytest.FixtureRequest, site: Site) -> None:
    """Both ways to scan; one by one is what a malformed file makes of it."""
    if request.param == "scanned one by one":
        (site.leave_behind("malformed-1.0") / "entry_points.txt").write_text("[a]\nb\n")


@pytest.mark.usefixtures("scan")
def test_an_empty_dist_info_does_not_hide_a_plugin(site: Site, earlier_site: Site) -> None:
    site.leave_behind("acme_ciphers-0.9")
    site.leave_behind("acme_ciphers-1.1")
    earlier_site.leave_behind("acme_ciphers-1.0")
    site.install("acme-ciphers", {"wobble": "acme_reverse:Reverse"}, acme_reverse=REVERSE)
    registry = Registry()

    assert [entry.version for entry in of_package(registry, "acme-ciphers")] == ["1.0"]
    assert coded(registry.load(parse("wobble")), b"abc") == b"cba"


@pytest.mark.usefixtures("scan")
def test_a_package_that_is_installed_twice_is_the_one_that_is_imported(
    site: Site, earlier_site: Site
) -> None:
    site.install("acme-ciphers", {"wobble": "acme:Wobble"}, version="1.0", acme=TRAP)
    earlier_site.install("Acme.Ciphers", {"wobble": "acme:Reverse"}, version="2.0", acme=REVERSE)
    registry = Registry()

    wobble = registry.find("wobble")
    assert (wobble.version, wobble.origin) == ("2.0", str(earlier_site.path))
    assert registry.status(wobble) == "ok"
    assert coded(registry.load(parse("wobble")), b"abc") == b"cba"


# Chains.

FOR_CHAINS = """
from cipherecho.ciphers.composition import chain
from cipherecho.cipher import letter_table

class Caesar:
    table = letter_table("DEFGHIJKLMNOPQRSTUVWXYZABC")

class Atbash:
    table = letter_table("ZYXWVUTSRQPONMLKJIHGFEDCBA")

class Tag:
    def __init__(self, tag: str):
        self.tag = tag.encode()

    def encrypt(self, body):
        return body + self.tag

    def decrypt(self, body):
        return body.removesuffix(self.tag)

def twice(tag: str):
    return chain([Tag(tag), Tag(tag.upper())])

class Hash:
    def __init__(self, size: int = 8):
        self.size = size

    def encrypt(self, body):
        return b"%d" % len(body)

class Numbered:
    def encryptor(self):
        return Numbering().add

    def decryptor(self):
        return Numbering().remove

class Numbering:
    number = 0

    def add(self, body):
        self.number += 1
        return b"%d " % self.number + body

    def remove(self, body):
        self.number += 1
        return body.removeprefix(b"%d " % self.number)
"""


@pytest.fixture
def for_chains(site: Site) -> Registry:
    site.install(
        "acme-ciphers",
        {
            "acme-caesar": "acme_chains:Caesar",
            "acme-atbash": "acme_chains:Atbash",
            "acme-tag": "acme_chains:Tag",
            "acme-twice": "acme_chains:twice",
            "acme-hash": "acme_chains:Hash",
            "acme-numbered": "acme_chains:Numbered",
        },
        acme_chains=FOR_CHAINS,
    )
    return Registry()


def load_chain(registry: Registry, text: str, *, decrypt: bool = False) -> Cipher:
    specifications = [parse(f"acme-{stage}") for stage in text.split()]
    return registry.load_chain(specifications, decrypt=decrypt)


@pytest.mark.parametrize(
    ("stages", "plaintext", "ciphertext"),
    [
        ("caesar", b"Abc", b"Def"),
        # Three places on, then mirrored: A, D, W. The other way round: A, Z, C.
        ("caesar atbash", b"Abc", b"Wvu"),
        ("atbash caesar", b"Abc", b"Cba"),
        ("tag:x", b"abc", b"abcx"),
        ("tag:x tag:y", b"abc", b"abcxy"),
        ("twice:x tag:y", b"abc", b"abcxXy"),
        ("caesar tag:x atbash", b"abc", b"wvuc"),
        ("numbered tag:x", b"abc", b"1 abcx"),
        ("tag:1 numbered numbered", b"abc", b"1 1 abc1"),
    ],
)
def test_a_chain_goes_left_to_right_and_decrypts_from_right_to_left(
    for_chains: Registry, stages: str, plaintext: bytes, ciphertext: bytes
) -> None:
    assert coded(load_chain(for_chains, stages), plaintext) == ciphertext
    assert coded(load_chain(for_chains, stages, decrypt=True), ciphertext) == plaintext


@pytest.mark.parametrize("decrypt", [False, True])
def test_a_chain_of_tables_is_one_table(for_chains: Registry, decrypt: bool) -> None:
    fused = load_chain(for_chains, "caesar atbash caesar atbash", decrypt=decrypt)
    # Three places on, and as many back again.
    assert fused.table == bytes(range(256))  # type: ignore[union-attr]


def test_a_chain_of_one_cipher_is_that_cipher() -> None:
    assert coded(Registry().load_chain([parse("rot13")]), b"Why") == b"Jul"
    assert coded(Registry().load_chain([parse("rot13")], decrypt=True), b"Jul") == b"Why"


@pytest.mark.parametrize("stages", ["hash:9", "caesar hash:9", "hash:9 tag:x", "numbered hash:9"])
def test_a_stage_without_an_inverse_is_refused_only_to_decrypt(
    for_chains: Registry, stages: str
) -> None:
    load_chain(for_chains, stages)
    with pytest.raises(NotInvertibleError) as refusal:
        load_chain(for_chains, stages, decrypt=True)
    assert str(refusal.value) == (
        "cipher 'acme-hash:9' can only encrypt, expected one with an inverse"
    )
    assert type(refusal.value.__cause__) is NoInverseError


def test_a_stage_that_cannot_be_loaded_is_the_chains_error(for_chains: Registry) -> None:
    with pytest.raises(BadOptionError, match="option tag is missing"):
        load_chain(for_chains, "caesar tag")


def test_a_chain_of_nothing_is_no_chain() -> None:
    with pytest.raises(ValueError, match="got no ciphers, expected at least one"):
        Registry().load_chain([])
