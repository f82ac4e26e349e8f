"""What only the Porta cipher does; the rest is in test_polyalphabetic.py."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherecho_classical.porta import Porta

keys = st.text(string.ascii_letters, min_size=1, max_size=300)


@given(st.binary(), keys)
def test_encrypting_again_decrypts(body: bytes, key: str) -> None:
    there, back = Porta(key).encryptor(), Porta(key).encryptor()
    assert back(there(body)) == body


@pytest.mark.parametrize("first", range(0, 26, 2))
def test_two_letters_of_the_key_have_one_alphabet(first: int) -> None:
    one, other = string.ascii_uppercase[first], string.ascii_uppercase[first + 1]
    every_byte = bytes(byte for byte in range(256) if byte != 0x0A)
    assert Porta(one).encryptor()(every_byte) == Porta(other).encryptor()(every_byte)


def test_alphabets_of_the_keys_a_and_c() -> None:
    half = b"ABCDEFGHIJKLM"
    assert Porta("A").encryptor()(half) == b"NOPQRSTUVWXYZ"
    assert Porta("C").encryptor()(half) == b"OPQRSTUVWXYZN"
    assert Porta("Y").encryptor()(half) == b"ZNOPQRSTUVWXY"


@given(st.sampled_from(string.ascii_letters), keys)
def test_every_letter_changes_to_the_other_half(letter: str, key: str) -> None:
    coded = Porta(key).encryptor()(letter.encode()).decode()
    assert (letter.upper() <= "M") != (coded.upper() <= "M")
    assert letter.isupper() == coded.isupper()
