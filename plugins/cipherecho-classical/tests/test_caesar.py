"""The Caesar cipher against a model that goes letter by letter."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherecho.cipher import letter_table
from cipherecho.ciphers.composition import inverse
from cipherecho.ciphers.options import BadOptionError, options_of
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho.session import Session
from cipherecho_classical.caesar import Caesar

IDENTITY = bytes(range(256))
shifts = st.integers(-25, 25)


def model(body: bytes, shift: int) -> bytes:
    moved = bytearray()
    for byte in body:
        letter = chr(byte)
        for alphabet in (string.ascii_uppercase, string.ascii_lowercase):
            if letter in alphabet:
                letter = alphabet[(alphabet.index(letter) + shift) % 26]
                break
        moved.append(ord(letter))
    return bytes(moved)


@given(shifts)
def test_table_is_that_of_the_model(shift: int) -> None:
    assert Caesar(shift).table == model(IDENTITY, shift)


@given(st.binary(), shifts)
def test_inverse_is_the_shift_to_the_other_side(sent: bytes, shift: int) -> None:
    back, left = Session(inverse(Caesar(shift))), Session(Caesar(-shift))
    assert back.receive(sent) + back.end() == left.receive(sent) + left.end()
    assert IDENTITY.translate(Caesar(shift).table).translate(Caesar(-shift).table) == IDENTITY


def test_shift_is_three_if_not_given() -> None:
    assert Registry().load(parse("caesar")) == Caesar(3)
    assert Caesar().table == letter_table("DEFGHIJKLMNOPQRSTUVWXYZABC")


@pytest.mark.parametrize(
    ("text", "shift"),
    [("caesar:5", 5), ("caesar:-25", -25), ("Caesar:shift=25", 25), ("caesar:0", 0)],
)
def test_shift_is_read(text: str, shift: int) -> None:
    assert Registry().load(parse(text)) == Caesar(shift)


@pytest.mark.parametrize("shift", ["26", "-26", "3.5", "three", '""'])
def test_other_shifts_are_refused(shift: str) -> None:
    with pytest.raises(BadOptionError, match="expected a whole number, -25 to 25") as refusal:
        Registry().load(parse(f"caesar:{shift}"))
    assert refusal.value.option == "shift"


def test_option_is_explained() -> None:
    (shift,) = options_of(Caesar)
    assert (shift.name, shift.default) == ("shift", 3)
    assert shift.help == "places to the right; to the left if negative"


@pytest.mark.parametrize("text", ["ß", "éÉ", "0123 @[`{", "\x00\x7f"])
def test_what_is_no_ascii_letter_stays(text: str) -> None:
    assert text.encode().translate(Caesar(3).table) == text.encode()
