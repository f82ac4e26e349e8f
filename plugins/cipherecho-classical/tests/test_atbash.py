"""Atbash against a model that goes letter by letter."""

import string

import pytest

from cipherecho.cipher import Vector
from cipherecho.ciphers.composition import chain
from cipherecho.ciphers.options import BadOptionError, options_of
from cipherecho.ciphers.shapes import table_of
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho_classical.atbash import Atbash

IDENTITY = bytes(range(256))


def model(body: bytes) -> bytes:
    """Count each letter from the other end of its alphabet."""
    coded = bytearray()
    for byte in body:
        for first, last in (b"AZ", b"az"):
            if first <= byte <= last:
                byte = last - (byte - first)
                break
        coded.append(byte)
    return bytes(coded)


def test_table_is_that_of_the_model() -> None:
    assert Atbash.table == model(IDENTITY)


def test_twice_is_the_original() -> None:
    assert table_of(chain([Atbash(), Atbash()])) == IDENTITY


def test_no_letter_stays() -> None:
    for letter in string.ascii_letters.encode():
        assert Atbash.table[letter] != letter


@pytest.mark.parametrize("vector", Atbash.vectors, ids=lambda vector: vector.plaintext[:9])
def test_vectors_are_as_in_the_model(vector: Vector) -> None:
    assert model(vector.plaintext.encode()) == vector.ciphertext.encode()


def test_takes_no_options() -> None:
    assert options_of(Atbash) == []
    assert Registry().load(parse("atbash")) == Atbash()
    with pytest.raises(BadOptionError, match="takes no options"):
        Registry().load(parse("atbash:5"))
