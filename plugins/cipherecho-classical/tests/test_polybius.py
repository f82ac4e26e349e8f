"""Squares of letters: how a key fills them, and which letters of a line they accept."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherecho.cipher import InputError, OptionError
from cipherecho_classical.polybius import (
    A_TO_Z_0_TO_9,
    A_TO_Z_WITHOUT_J,
    Square,
    filled,
    letters_of,
    square_of,
)

ALPHABETS = (A_TO_Z_WITHOUT_J, A_TO_Z_0_TO_9)


def test_alphabets_fill_their_squares() -> None:
    assert A_TO_Z_WITHOUT_J == "ABCDEFGHIKLMNOPQRSTUVWXYZ"
    assert A_TO_Z_0_TO_9 == "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@pytest.mark.parametrize("alphabet", ALPHABETS, ids=len)
@given(key=st.text(string.ascii_letters + " ", min_size=1))
def test_key_word_comes_first_and_then_the_rest(alphabet: str, key: str) -> None:
    if not key.strip(" "):
        return
    cells = filled("key", key, alphabet)
    assert sorted(cells) == sorted(alphabet)
    expected = []
    for letter in key.upper() + alphabet:
        one = "I" if letter == "J" and "J" not in alphabet else letter
        if one != " " and one not in expected:
            expected.append(one)
    assert cells == "".join(expected)


@pytest.mark.parametrize("alphabet", ALPHABETS, ids=len)
@pytest.mark.parametrize("key", ["", " ", "é", "ß", "ſ", "a-b", "a\tb", "a\n"])  # noqa: RUF001
def test_other_key_words_are_refused(alphabet: str, key: str) -> None:
    for fill in (filled, square_of):
        with pytest.raises(OptionError) as refusal:
            fill("square", key, alphabet)
        assert (refusal.value.option, refusal.value.given) == ("square", key)
        assert refusal.value.expected.startswith("one or more letters A-Z")


def test_digits_go_into_the_larger_square_alone() -> None:
    assert filled("key", "4711", A_TO_Z_0_TO_9).startswith("471ABC")
    with pytest.raises(OptionError):
        filled("key", "4711", A_TO_Z_WITHOUT_J)


@given(st.permutations(A_TO_Z_WITHOUT_J))
def test_whole_square_is_taken_as_it_is(cells: list[str]) -> None:
    whole = "".join(cells)
    assert square_of("square", whole, A_TO_Z_WITHOUT_J) == whole
    assert square_of("square", whole.lower().replace("i", "j"), A_TO_Z_WITHOUT_J) == whole


@pytest.mark.parametrize(
    ("given", "alphabet", "expected"),
    [
        (
            "BGWKZQPNDSIOAXEFCLUMTHYVV",
            A_TO_Z_WITHOUT_J,
            "the letters A-Z, each once, J being I, or a shorter key word",
        ),
        (
            "BGWKZQPNDSIOAXEFCLUMTHYVJ",  # J counts as I
            A_TO_Z_WITHOUT_J,
            "the letters A-Z, each once, J being I, or a shorter key word",
        ),
        (
            "NA1C3H8TB2OME5WRPD4F6G7I9J0KLQSUVXYY",
            A_TO_Z_0_TO_9,
            "the letters A-Z and digits 0-9, each once, or a shorter key word",
        ),
    ],
)
def test_whole_square_with_a_letter_twice_is_refused(
    given: str, alphabet: str, expected: str
) -> None:
    with pytest.raises(OptionError) as refusal:
        square_of("square", given, alphabet)
    assert (refusal.value.option, refusal.value.given) == ("square", given)
    assert refusal.value.expected == expected
    # A key word may repeat letters, and have any other length.
    assert square_of("square", given + "A", alphabet) == filled("square", given, alphabet)
    assert filled("key", given, alphabet)


@given(st.text(A_TO_Z_WITHOUT_J))
def test_coordinates_lead_back_to_the_letters(letters: str) -> None:
    square = Square(filled("key", "example", A_TO_Z_WITHOUT_J), "12345")
    coordinates = square.coordinates(letters)
    assert len(coordinates) == 2 * len(letters)
    assert square.letters(coordinates) == letters


@pytest.mark.parametrize(
    ("line", "letters"),
    [
        ("", ""),
        ("  \t\r ", ""),
        ("Don't panic - «ever»!", "DONTPANICEVER"),
        ("Jam\N{NO-BREAK SPACE}jar", "IAMIAR"),
        ("R&D", "RD"),
    ],
)
def test_spacing_and_punctuation_are_left_out(line: str, letters: str) -> None:
    assert letters_of(line.encode(), A_TO_Z_WITHOUT_J) == letters


@pytest.mark.parametrize(
    ("line", "given", "place"),
    [
        ("at 7", "'7'", 4),
        ("Größe", "'ö'", 3),
        ("Kelvin \N{KELVIN SIGN}", "'\N{KELVIN SIGN}'", 8),  # its small letter is k
        ("1 + é", "'1'", 1),
        ("e\N{COMBINING ACUTE ACCENT}", "'\N{COMBINING ACUTE ACCENT}'", 2),
        ("a\0", r"'\\x00'", 2),
        ("a $", r"'\$'", 3),
        ("日本", "'日'", 1),
    ],
)
def test_what_would_change_the_message_is_refused(line: str, given: str, place: int) -> None:
    with pytest.raises(InputError, match=f"^got {given} at place {place}, expected letters A-Z$"):
        letters_of(line.encode(), A_TO_Z_WITHOUT_J)


def test_what_is_not_utf_8_is_refused() -> None:
    with pytest.raises(InputError, match="got the byte 0xff at place 3, expected UTF-8"):
        letters_of(b"ab\xff", A_TO_Z_0_TO_9)


def test_ciphertext_has_no_j() -> None:
    with pytest.raises(InputError, match=r"^got 'j' at place 2, expected letters A-Z without J$"):
        letters_of(b"AjB", A_TO_Z_WITHOUT_J, fold_j=False)
