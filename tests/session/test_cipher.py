"""What a plugin's author imports: the errors, the ranges, the letter tables, the vectors."""

from __future__ import annotations

import string
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherecho.cipher import InputError, OptionError, Range, Vector, letter_table
from cipherecho.ciphers.coder import Coder
from cipherecho.ciphers.shapes import as_cipher
from cipherecho.rot13 import Rot13

ATBASH = "ZYXWVUTSRQPONMLKJIHGFEDCBA"
LETTERS = string.ascii_letters.encode()


# Letter tables.


def test_a_letter_table_keeps_the_case() -> None:
    assert b"Attack At Dawn!".translate(letter_table(ATBASH)) == b"Zggzxp Zg Wzdm!"


def test_a_letter_table_leaves_every_other_byte_as_it_is() -> None:
    table = letter_table(ATBASH)
    others = bytes(byte for byte in range(256) if byte not in LETTERS)
    assert others.translate(table) == others

    def code(text: str) -> str:
        return text.encode().translate(table).decode()

    assert code("Größe 7!") == "Tiößv 7!"
    # Both are folded to ASCII letters by `str.upper` and `str.lower`.
    folding = "\N{LATIN SMALL LETTER LONG S}\N{KELVIN SIGN}"
    assert code(folding) == folding


@given(st.permutations(string.ascii_uppercase))
def test_every_alphabet_makes_a_table_that_is_a_cipher(letters: list[str]) -> None:
    class Alphabet:
        table = letter_table("".join(letters))

    as_cipher(Alphabet())
    assert string.ascii_uppercase.encode().translate(Alphabet.table) == "".join(letters).encode()
    assert (
        string.ascii_lowercase.encode().translate(Alphabet.table)
        == "".join(letters).lower().encode()
    )


@pytest.mark.parametrize(
    "alphabet",
    [
        "",
        ATBASH[:25],
        ATBASH + "A",
        ATBASH.replace("Z", "Y"),
        ATBASH.replace("Z", "Ä"),
        ATBASH.replace("K", "\N{KELVIN SIGN}"),
        ATBASH.replace("Z", "1"),
        ATBASH.lower(),
        "-" + ATBASH[1:],
    ],
)
def test_an_alphabet_is_the_26_capital_letters_each_once(alphabet: str) -> None:
    with pytest.raises(ValueError, match="expected the 26 capital letters A-Z, each once") as error:
        letter_table(alphabet)
    assert repr(alphabet) in str(error.value)


# Errors.


def test_a_rejected_line_is_a_value_error() -> None:
    assert issubclass(InputError, ValueError)


def test_an_option_error_has_its_facts_as_attributes() -> None:
    error = OptionError("key_letters", 4711, "one or more letters A-Z")
    assert (error.option, error.given, error.expected) == (
        "key-letters",
        4711,
        "one or more letters A-Z",
    )
    assert isinstance(error, ValueError)


def test_an_option_error_names_the_option_as_the_user_writes_it() -> None:
    assert str(OptionError("max_line", "\x1b", "a number")) == (
        r"option max-line: got '\x1b', expected a number"
    )


# Ranges.


@pytest.mark.parametrize(
    ("number", "is_inside"),
    [(0, True), (25, True), (12, True), (12.5, True), (-1, False), (26, False)],
)
def test_a_range_includes_both_its_ends(number: float, is_inside: bool) -> None:
    assert (number in Range(0, 25)) is is_inside


def test_a_range_without_an_upper_end_takes_every_larger_number() -> None:
    assert 10**100 in Range(1, float("inf"))
    assert 0 not in Range(1, float("inf"))


def test_what_is_not_a_number_is_in_no_range() -> None:
    assert float("nan") not in Range(float("-inf"), float("inf"))


def test_a_range_says_what_it_takes() -> None:
    assert str(Range(0, 25)) == "0 to 25"
    assert str(Range(0.5, 2)) == "0.5 to 2"


# What is declared once is fixed.


@pytest.mark.parametrize("fact", [Range(0, 25), Vector("a", "b", "made up")], ids=repr)
def test_ranges_and_vectors_are_immutable_and_equal_by_value(fact: Range | Vector) -> None:
    name = next(iter(vars(fact)))
    with pytest.raises(FrozenInstanceError):
        setattr(fact, name, None)
    assert fact == type(fact)(**vars(fact))


def test_a_vector_needs_no_options() -> None:
    assert Vector("a", "b", "made up").options == ""


# The default cipher.


@pytest.mark.parametrize("vector", Rot13.vectors, ids=lambda vector: vector.source)
def test_rot13_gives_its_known_answers(vector: Vector) -> None:
    coder = Coder(Rot13(), 1000)
    coded = [coder.code(line.encode(), b"\n") for line in vector.plaintext.split("\n")]
    assert b"\n".join(coded).decode() == vector.ciphertext


def test_rot13_twice_is_the_original() -> None:
    assert Rot13.table.translate(Rot13.table) == bytes(range(256))
    assert all(LETTERS[i] != byte for i, byte in enumerate(LETTERS.translate(Rot13.table)))


def test_a_rejection_without_a_reason_still_says_something() -> None:
    assert str(InputError()) == "the cipher rejected this line"
    assert str(InputError("got 7")) == "got 7"
