"""The conformance kit: each check catches a cipher that is wrong in its way, and only that."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest

from cipherecho.cipher import InputError, OptionError, Range, Transform, Vector, letter_table
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho.rot13 import Rot13
from cipherecho.testing import (
    CHECKS,
    CipherTests,
    ConformanceError,
    conform,
    installed,
    outcomes,
    registered,
)
from tests.helpers.ciphers import (
    Caesar,
    InBlocks,
    Numbered,
    NumberedInClosure,
    NumberedPicky,
    Picky,
    Progressive,
    Reverse,
)
from tests.helpers.site import Site


class PickyInBlocks(NumberedPicky):
    """Takes blocks, and rejects some of its lines and not the others."""

    def encryptor(self) -> Transform:
        return InBlocks(super().encryptor())


@pytest.mark.parametrize(
    "factory", [Rot13, Caesar, Reverse, Picky, Numbered, Progressive, PickyInBlocks]
)
def test_a_cipher_that_keeps_the_contract_conforms(factory: Callable[[], Any]) -> None:
    assert [one.problem for one in outcomes(factory) if one.problem] == []
    conform(factory)


def test_every_check_says_what_it_promises() -> None:
    for outcome in outcomes(Rot13):
        assert outcome.check in CHECKS
        assert outcome.promise.endswith(".")


# Deliberately wrong ciphers, and the check that has to catch each.


class DecodesStrictly:
    def encrypt(self, body: bytes) -> bytes:
        return body.decode().upper().encode()


class MakesALineEnd:
    def encrypt(self, body: bytes) -> bytes:
        return body.replace(b" ", b"\n")


class MakesACarriageReturn:
    def encrypt(self, body: bytes) -> bytes:
        return b"\r" + body


class ReturnsText:
    def encrypt(self, body: bytes) -> Any:
        return body.decode("latin-1")


class CountsEndings:
    """Its state changes with line endings, so it can't take many lines at once."""

    stretches = True

    def encryptor(self) -> Transform:
        return _Counting()


class _Counting:
    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, body: bytes) -> bytes:
        coded = bytes(
            byte if byte in b"\r\n" else (byte + self.bytes + place) % 64 + 64
            for place, byte in enumerate(body)
        )
        self.bytes += len(body)
        return coded


class MovesOnWhenItRejectsInBlocks:
    """One by one its lines are right; in a block, a rejected line is counted too."""

    def encryptor(self) -> Transform:
        return _HastyInBlocks()


class _HastyInBlocks:
    def __init__(self) -> None:
        self.lines = 0

    def __call__(self, body: bytes) -> bytes:
        if b"\xff" in body:
            raise InputError("got 0xff, expected anything else")
        self.lines += 1
        return b"%d %s" % (self.lines, body)

    def block(self, text: bytes) -> tuple[bytes, dict[int, str]]:
        coded, rejected = [], {}
        for number, line in enumerate(BytesIO(text)):
            self.lines += 1
            if b"\xff" in line:
                rejected[number] = "got 0xff, expected anything else"
                coded.append(b"\r\n" if line.endswith(b"\r\n") else b"\n")
            else:
                coded.append(b"%d %s" % (self.lines, line))
        return b"".join(coded), rejected


class LosesALineInBlocks(MovesOnWhenItRejectsInBlocks):
    def encryptor(self) -> Transform:
        return _LosingInBlocks()


class _LosingInBlocks(_HastyInBlocks):
    def block(self, text: bytes) -> tuple[bytes, dict[int, str]]:
        return text.partition(b"\n")[2], {}


class FailsInBlocks(MovesOnWhenItRejectsInBlocks):
    def encryptor(self) -> Transform:
        return _FailingInBlocks()


class _FailingInBlocks(_HastyInBlocks):
    def block(self, text: bytes) -> tuple[bytes, dict[int, str]]:
        raise InputError("got 0xff, expected anything else")


class HasAWrongVector:
    table = letter_table("ZYXWVUTSRQPONMLKJIHGFEDCBA")
    vectors = (Vector("abc", "abc", source="nowhere"),)


class RejectsItsVector:
    vectors = (Vector("abc", "cba", source="reading backwards"),)

    def encrypt(self, body: bytes) -> bytes:
        raise InputError("got letters, expected none")


class DecryptsWrongly:
    vectors = (Vector("abc", "cba", source="reading backwards"),)

    def encrypt(self, body: bytes) -> bytes:
        return body[::-1]

    def decrypt(self, body: bytes) -> bytes:
        return body


class ThrowsDice:
    def encrypt(self, body: bytes) -> bytes:
        return body + str(random.random()).encode()  # noqa: S311


class SharesItsState:
    """Its transforms count their lines together."""

    def __init__(self) -> None:
        self.lines = 0

    def encryptor(self) -> Transform:
        self.lines = 0
        return self.code

    def code(self, body: bytes) -> bytes:
        self.lines += 1
        return b"%d %s" % (self.lines, body)

    def __deepcopy__(self, memo: dict[int, object]) -> SharesItsState:
        copied = SharesItsState()
        copied.lines = self.lines
        return copied


class MovesOnWhenItRejects:
    """Its state is no longer as it was before the line that it rejected."""

    def encryptor(self) -> Transform:
        return _Hasty()


class _Hasty:
    def __init__(self) -> None:
        self.lines = 0

    def __call__(self, body: bytes) -> bytes:
        self.lines += 1
        if b"\xff" in body:
            raise InputError("got 0xff, expected anything else")
        return b"%d %s" % (self.lines, body)


@dataclass(frozen=True)
class FailsOnBadOptions:
    key: str = "a"

    def __post_init__(self) -> None:
        "abc"[len(self.key)]

    def encrypt(self, body: bytes) -> bytes:
        return body


@dataclass(frozen=True)
class RefusesWithoutAName:
    key: str = "a"

    def __post_init__(self) -> None:
        if not self.key.isalpha():
            raise ValueError("that is no good")

    def encrypt(self, body: bytes) -> bytes:
        return body


class LosesWhatItEncrypts:
    def encrypt(self, body: bytes) -> bytes:
        return body.replace(b" ", b"")

    def decrypt(self, body: bytes) -> bytes:
        return body


class IsSlow:
    def encrypt(self, body: bytes) -> bytes:
        end = time.perf_counter() + (0.03 if body.startswith(b"THE QUICK") else 0)
        while time.perf_counter() < end:
            pass
        return body


@pytest.mark.parametrize(
    ("check", "factory", "problem"),
    [
        ("lines", DecodesStrictly, "raised UnicodeDecodeError"),
        ("lines", MakesALineEnd, "the cipher returned a LF"),
        ("lines", MakesACarriageReturn, "the cipher returned a CR that the line did not hold"),
        ("lines", ReturnsText, "the cipher returned an object of type str, expected bytes"),
        ("stretches", CountsEndings, "many lines at once: got "),
        ("blocks", MovesOnWhenItRejectsInBlocks, "in a block: got "),
        ("blocks", LosesALineInBlocks, "lines in a block: the cipher returned "),
        ("blocks", FailsInBlocks, "lines in a block: raised InputError: got 0xff"),
        ("vectors", HasAWrongVector, "the vector from 'nowhere', encrypting: got 'zyx'"),
        ("vectors", RejectsItsVector, "line 1 of 'abc' is rejected: got letters, expected none"),
        ("vectors", DecryptsWrongly, "decrypting: got 'cba', expected 'abc'"),
        ("determinism", ThrowsDice, "again: got "),
        ("connections", SharesItsState, "beside another: got "),
        ("state", NumberedInClosure, "the transform can't be copied"),
        ("rejection", MovesOnWhenItRejects, "after the rejected"),
        ("options", FailsOnBadOptions, "raises IndexError"),
        ("options", RefusesWithoutAName, "does not name an option"),
        ("round-trip", LosesWhatItEncrypts, "b' ', encrypted to b'' and decrypted: got b''"),
        ("time", IsSlow, "holds up every other connection"),
    ],
)
def test_each_check_catches_a_cipher_that_is_wrong(
    check: str, factory: Callable[..., Any], problem: str
) -> None:
    found = {one.check: one.problem for one in outcomes(factory) if one.problem}
    assert problem in found[check]
    with pytest.raises(ConformanceError) as caught:
        conform(factory)
    assert f"{check}: " in str(caught.value)


def test_there_is_a_wrong_cipher_for_every_check() -> None:
    marks = test_each_check_catches_a_cipher_that_is_wrong.pytestmark
    assert {case[0] for case in marks[0].args[1]} == CHECKS.keys()


class Random(ThrowsDice):
    random = True


class Lossy(LosesWhatItEncrypts):
    lossy = True


@pytest.mark.parametrize("factory", [Random, Lossy])
def test_what_a_cipher_says_of_itself_is_not_held_against_it(factory: Callable[[], Any]) -> None:
    conform(factory)


@dataclass(frozen=True)
class Shifted:
    shift: Annotated[int, Range(0, 25)]

    vectors: ClassVar[tuple[Vector, ...]] = (Vector("abc", "bcd", source="counting", options="1"),)

    def __post_init__(self) -> None:
        if self.shift == 13:
            raise OptionError("shift", self.shift, "anything but 13")

    @property
    def table(self) -> bytes:
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        return letter_table(letters[self.shift :] + letters[: self.shift])


def test_the_options_are_those_given_or_those_of_the_first_vector() -> None:
    conform(Shifted)
    conform(Shifted, "shift=7")


class TestShifted(CipherTests):
    """The class for pytest, used as an author would."""

    factory = Shifted


def test_registered_is_found_like_an_installed_package() -> None:
    with registered("Test_Shift", Shifted):
        entry = Registry().find("test-shift")
        assert entry.package == "registered-test-shift"
        cipher: Any = Registry().load(parse("test-shift:3"))
        assert cipher.shift == 3
    assert "test-shift" not in {entry.name for entry in Registry().entries}


# What a package brings.


def test_installed_gives_the_factories_of_a_package() -> None:
    with registered("test-shift", Shifted):
        assert installed("Registered_test-shift") == {"test-shift": Shifted}
    with pytest.raises(ConformanceError, match="got the package 'registered-test-shift', expect"):
        installed("registered-test-shift")


@pytest.mark.parametrize("name", ["rot13", "two words"])
def test_a_name_that_nobody_could_ask_for_is_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    Site(tmp_path).install("acme-ciphers", {name: "acme:Cipher"})
    with pytest.raises(ConformanceError, match=f"got a cipher of the name '{name}'"):
        installed("acme-ciphers")
