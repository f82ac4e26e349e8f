"""The bifid cipher against a model that writes rows above columns, as on paper."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cipherecho.cipher import InputError, OptionError, Vector
from cipherecho.ciphers.options import BadOptionError, options_of
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho.session import ReplyMode, Session
from cipherecho_classical.bifid import Bifid

LETTERS = "ABCDEFGHIKLMNOPQRSTUVWXYZ"
squares = st.permutations(LETTERS).map("".join)
periods = st.one_of(st.none(), st.integers(1, 20))
lines = st.text(string.ascii_letters + " .,'-")


def letters_in(text: str) -> str:
    return "".join(one for one in text.upper().replace("J", "I") if one in LETTERS)


def model(text: str, square: str, period: int | None) -> str:
    letters = letters_in(text)
    coded = ""
    while letters:
        group, letters = (letters[:period], letters[period:]) if period else (letters, "")
        numbers = [square.index(letter) // 5 for letter in group]
        numbers += [square.index(letter) % 5 for letter in group]
        while numbers:
            row, column, *numbers = numbers
            coded += square[5 * row + column]
    return coded


@given(lines, squares, periods)
@example("", LETTERS, None)
@example("Jam jar", LETTERS, 5)
def test_encrypts_as_the_model_and_gives_back_the_letters(
    text: str, square: str, period: int | None
) -> None:
    cipher = Bifid(square, period)
    coded = cipher.encrypt(text.encode())
    assert coded.decode() == model(text, square, period)
    assert cipher.decrypt(coded).decode() == letters_in(text)


@given(st.text(LETTERS), squares, periods)
def test_all_letters_decrypt_and_encrypt_again(coded: str, square: str, period: int | None) -> None:
    cipher = Bifid(square, period)
    assert cipher.encrypt(cipher.decrypt(coded.encode())).decode() == coded


@pytest.mark.parametrize(
    ("vector", "square", "period"),
    list(
        zip(
            Bifid.vectors,
            ["BGWKZQPNDSIOAXEFCLUMTHYVR", "PHQGMEAYLNOFDXKRCVSZWBUTI", LETTERS],
            [None, 5, None],
            strict=True,
        )
    ),
)
def test_model_agrees_with_the_vectors(vector: Vector, square: str, period: int | None) -> None:
    assert model(vector.plaintext, square, period) == vector.ciphertext


@pytest.mark.parametrize("size", range(8))
def test_whole_line_is_one_group_of_any_length(size: int) -> None:
    line = b"ABCDEFG"[:size]
    assert Bifid("secret").encrypt(line) == Bifid("secret", max(1, size)).encrypt(line)


def test_group_of_one_stays() -> None:
    assert Bifid("secret", 1).encrypt(b"Jam jar") == b"IAMIAR"


def test_groups_and_small_letters_decrypt() -> None:
    cipher = Bifid("BGWKZQPNDSIOAXEFCLUMTHYVR")
    assert cipher.decrypt(b"UAEOL WRINS") == cipher.decrypt(b"uaeolwrins.") == b"FLEEATONCE"


@pytest.mark.parametrize("body", [b"at 7", "Größe".encode(), b"\xff"])
def test_rejected_line_does_not_end_the_connection(body: bytes) -> None:
    session = Session(Bifid("BGWKZQPNDSIOAXEFCLUMTHYVR"), reply=ReplyMode.CIPHER)
    error, coded = session.receive(body + b"\nFlee at once\n").splitlines()
    assert error.startswith(b"!error: got ")
    assert coded == b"UAEOLWRINS"


@pytest.mark.parametrize("text", ["J", "7", "é"])
def test_what_no_line_is_coded_as_is_rejected(text: str) -> None:
    with pytest.raises(InputError) as rejection:
        Bifid("secret").decrypt(text.encode())
    assert str(rejection.value) == f"got {text!r} at place 1, expected letters A-Z without J"


@pytest.mark.parametrize(
    ("text", "cipher"),
    [
        ("bifid:secret", Bifid("secret")),
        ("bifid:square=secret,period=7", Bifid("secret", 7)),
        ("Bifid:secret,period=65536", Bifid("secret", 65_536)),
    ],
)
def test_options_are_read(text: str, cipher: Bifid) -> None:
    assert Registry().load(parse(text)) == cipher


@pytest.mark.parametrize("period", ["0", "-1", "65537", "2.5", "five", '""'])
def test_other_periods_are_refused(period: str) -> None:
    with pytest.raises(BadOptionError, match="expected a whole number, 1 to 65536") as refusal:
        Registry().load(parse(f"bifid:secret,period={period}"))
    assert refusal.value.option == "period"


@pytest.mark.parametrize("square", ["", "4711", "é", LETTERS[1:] + "B"])
def test_other_squares_are_refused(square: str) -> None:
    with pytest.raises(OptionError) as refusal:
        Bifid(square)
    assert (refusal.value.option, refusal.value.given) == ("square", square)


def test_options_are_explained() -> None:
    square, period = options_of(Bifid)
    assert (square.name, square.required) == ("square", True)
    assert (period.name, period.default) == ("period", None)
    assert period.help == "letters in a group; the whole line if not given"
