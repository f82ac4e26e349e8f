"""What only the autokey cipher does; the rest is in test_polyalphabetic.py."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherecho_classical.autokey import Autokey
from cipherecho_classical.vigenere import Vigenere

keys = st.text(string.ascii_letters, min_size=1, max_size=300)
letters = st.text(string.ascii_letters, max_size=600)


@given(letters, keys)
def test_is_vigenere_with_the_key_and_then_the_plaintext(plaintext: str, key: str) -> None:
    with_its_key = Vigenere(key + plaintext).encryptor()
    assert Autokey(key).encryptor()(plaintext.encode()) == with_its_key(plaintext.encode())


@given(letters, keys, st.data())
def test_key_goes_on_where_a_line_ends(plaintext: str, key: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(plaintext)))
    whole, first, rest = (part.encode() for part in (plaintext, plaintext[:cut], plaintext[cut:]))
    encrypt, decrypt = Autokey(key).encryptor(), Autokey(key).decryptor()
    coded = [encrypt(first), encrypt(rest)]
    assert b"".join(coded) == Autokey(key).encryptor()(whole)
    assert [decrypt(body) for body in coded] == [first, rest]


@pytest.mark.parametrize("length", [*range(1, 20), 126, 127, 128, 253, 254, 255])
def test_decrypts_with_keys_of_every_length(length: int) -> None:
    # Shorter than a block, the key comes back within it, after 1, 2, 4, 8... times its length.
    key = (string.ascii_uppercase[::-1] * 10)[:length]
    plaintext = b"Sphinx of black quartz, judge my vow! " * 20
    assert Autokey(key).decryptor()(Autokey(key).encryptor()(plaintext)) == plaintext


def test_wrong_letter_goes_wrong_again_after_the_length_of_the_key() -> None:
    decrypt = Autokey("KILT").decryptor()
    assert decrypt(b"wmpmmxxaeyhbryoca") == b"meetatthefountain"
    # The first letter is one too high: so every fourth one is too high and too low by turns.
    decrypt = Autokey("KILT").decryptor()
    assert decrypt(b"xmpmmxxaeyhbryoca") == b"neetztthffoumtaio"
