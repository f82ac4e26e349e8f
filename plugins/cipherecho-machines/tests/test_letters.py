"""Letters are coded and the rest stays, checked against a model that goes byte by byte."""

import string

from hypothesis import given
from hypothesis import strategies as st

from cipherecho_machines.letters import code_letters

LETTERS = string.ascii_letters.encode()


@given(st.binary(), st.integers(0, 25))
def test_keeps_case_and_everything_else(body: bytes, shift: int) -> None:
    def code(numbers: bytes) -> bytes:
        return bytes([(number + shift) % 26 for number in numbers])

    moved = bytearray(body)
    for place, byte in enumerate(body):
        for alphabet in (string.ascii_lowercase.encode(), string.ascii_uppercase.encode()):
            if byte in alphabet:
                moved[place] = alphabet[(alphabet.index(byte) + shift) % 26]
    assert code_letters(body, code) == bytes(moved)


@given(st.binary())
def test_gives_the_letters_alone_as_numbers(body: bytes) -> None:
    given_numbers: list[int] = []

    def code(numbers: bytes) -> bytes:
        given_numbers.extend(numbers)
        return numbers

    assert code_letters(body, code) == body
    letters = [chr(byte).upper() for byte in body if byte in LETTERS]
    assert given_numbers == [string.ascii_uppercase.index(letter) for letter in letters]
