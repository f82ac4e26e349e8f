"""The ADFGVX cipher against a model that writes out the square and the grid."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cipherecho.cipher import InputError, OptionError, Vector
from cipherecho.ciphers.options import BadOptionError, options_of
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho.session import ReplyMode, Session
from cipherecho_classical.adfgvx import Adfgvx

LETTERS = string.ascii_uppercase + string.digits
WIKIPEDIA = "NA1C3H8TB2OME5WRPD4F6G7I9J0KLQSUVXYZ"
squares = st.permutations(LETTERS).map("".join)
keys = st.text(string.ascii_letters, min_size=1, max_size=30)
lines = st.text(string.ascii_letters + string.digits + " .,'-:")


def letters_in(text: str) -> str:
    return "".join(one for one in text.upper() if one in LETTERS)


def model(text: str, square: str, key: str) -> str:
    written = ""
    for letter in letters_in(text):
        row, column = divmod(square.index(letter), 6)
        written += "ADFGVX"[row] + "ADFGVX"[column]
    columns = [["", letter] for letter in key.upper()]
    for place, symbol in enumerate(written):
        columns[place % len(key)][0] += symbol
    columns.sort(key=lambda column: column[1])  # equal letters stay left to right
    return "".join(column for column, _ in columns)


@given(lines, squares, keys)
@example("", LETTERS, "A")
@example("J7", LETTERS, "AVERYLONGKEY")
def test_encrypts_as_the_model_and_gives_back_the_letters(text: str, square: str, key: str) -> None:
    cipher = Adfgvx(square, key)
    coded = cipher.encrypt(text.encode())
    assert coded.decode() == model(text, square, key)
    assert cipher.decrypt(coded).decode() == letters_in(text)


@given(st.text("ADFGVX"), squares, keys)
def test_all_that_decrypts_encrypts_again(coded: str, square: str, key: str) -> None:
    coded = coded[len(coded) % 2 :]
    cipher = Adfgvx(square, key)
    assert cipher.encrypt(cipher.decrypt(coded.encode())).decode() == coded


@pytest.mark.parametrize(
    ("vector", "square", "key"),
    list(
        zip(
            Adfgvx.vectors,
            [
                WIKIPEDIA,
                "8P3D1NLT4OAH7KBC5ZJU6WGMXSVIR29EY0FQ",
                "147REGIMNTABCDFHJKLOPQSUVWXYZ0235689",
            ],
            ["PRIVACY", "MARK", "PRIVACY"],
            strict=True,
        )
    ),
)
def test_model_agrees_with_the_vectors(vector: Vector, square: str, key: str) -> None:
    assert model(vector.plaintext, square, key) == vector.ciphertext


def test_groups_and_small_letters_decrypt() -> None:
    cipher = Adfgvx(WIKIPEDIA, "PRIVACY")
    assert cipher.decrypt(b"DGDDD AGDDG AFADD FDADV DVFAA DVX") == b"ATTACKAT1200AM"
    assert cipher.decrypt(b"dgdddagddgafaddfdadvdvfaadvx") == b"ATTACKAT1200AM"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ADF", "got 3 letters, expected pairs, so an even number"),
        ("ADBA", "got 'B' at place 3, expected the letters A, D, F, G, V, X"),
        ("AJ", "got 'J' at place 2, expected the letters A, D, F, G, V, X"),
        ("A1", "got '1' at place 2, expected the letters A, D, F, G, V, X"),
        ("Ä", "got 'Ä' at place 1, expected the letters A, D, F, G, V, X"),
    ],
)
def test_what_no_line_is_coded_as_is_rejected(text: str, problem: str) -> None:
    with pytest.raises(InputError) as rejection:
        Adfgvx(WIKIPEDIA, "PRIVACY").decrypt(text.encode())
    assert str(rejection.value) == problem


@pytest.mark.parametrize("body", [b"3 + 4", "Größe".encode(), b"\xff"])
def test_rejected_line_does_not_end_the_connection(body: bytes) -> None:
    session = Session(Adfgvx(WIKIPEDIA, "PRIVACY"), reply=ReplyMode.CIPHER)
    error, coded = session.receive(body + b"\nattack at 1200am\n").splitlines()
    assert error.startswith(b"!error: got ")
    assert coded == b"DGDDDAGDDGAFADDFDADVDVFAADVX"


@pytest.mark.parametrize(
    "text",
    ["adfgvx:147 regiment,key=privacy", "ADFGVX:key=privacy,square='147 regiment'"],
)
def test_options_are_read(text: str) -> None:
    assert Registry().load(parse(text)) == Adfgvx("147 regiment", "privacy")


@pytest.mark.parametrize(
    ("square", "key", "option", "expected"),
    [
        ("", "KEY", "square", "one or more letters A-Z and digits 0-9"),
        ("é", "KEY", "square", "one or more letters A-Z and digits 0-9"),
        (
            WIKIPEDIA[1:] + "A",
            "KEY",
            "square",
            "the letters A-Z and digits 0-9, each once, or a shorter key word",
        ),
        ("secret", "", "key", "one or more letters A-Z"),
        ("secret", "4711", "key", "one or more letters A-Z"),
    ],
)
def test_other_options_are_refused(square: str, key: str, option: str, expected: str) -> None:
    with pytest.raises(OptionError) as refusal:
        Adfgvx(square, key)
    assert (refusal.value.option, refusal.value.expected) == (option, expected)


@pytest.mark.parametrize(
    ("text", "option"),
    [("adfgvx", "square"), ("adfgvx:secret", "key"), ("adfgvx:secret,key=1", "key")],
)
def test_bad_option_is_named(text: str, option: str) -> None:
    with pytest.raises(BadOptionError) as refusal:
        Registry().load(parse(text))
    assert refusal.value.option == option


def test_options_are_explained() -> None:
    square, key = options_of(Adfgvx)
    assert [option.required for option in (square, key)] == [True, True]
    assert square.help.startswith("the 36 letters A-Z and digits 0-9, row by row")
    assert key.help.endswith("a column for each")
