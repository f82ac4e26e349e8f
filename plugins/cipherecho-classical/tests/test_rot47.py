"""ROT47 against a model that goes character by character."""

import pytest

from cipherecho.cipher import Vector
from cipherecho.ciphers.composition import chain
from cipherecho.ciphers.options import BadOptionError, options_of
from cipherecho.ciphers.shapes import table_of
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho_classical.rot47 import Rot47

IDENTITY = bytes(range(256))
VISIBLE = "".join(chr(code) for code in range(128) if chr(code).isprintable() and code != 32)


def model(text: str) -> str:
    """Walk 47 steps through the visible characters, one by one, for each visible character."""
    coded = ""
    for character in text:
        for _ in range(47 if character in VISIBLE else 0):
            character = "!" if character == "~" else chr(ord(character) + 1)
        coded += character
    return coded


def test_all_of_ascii_is_as_in_the_model() -> None:
    ascii_text = IDENTITY[:128].decode()
    assert ascii_text.encode().translate(Rot47.table) == model(ascii_text).encode()


def test_what_is_no_visible_ascii_stays() -> None:
    others = IDENTITY[:33] + IDENTITY[127:]
    assert others.translate(Rot47.table) == others


def test_twice_is_the_original() -> None:
    assert table_of(chain([Rot47(), Rot47()])) == IDENTITY


@pytest.mark.parametrize("vector", Rot47.vectors, ids=lambda vector: vector.plaintext[:9])
def test_vectors_are_as_in_the_model(vector: Vector) -> None:
    assert model(vector.plaintext) == vector.ciphertext


def test_takes_no_options() -> None:
    assert options_of(Rot47) == []
    assert Registry().load(parse("rot47")) == Rot47()
    with pytest.raises(BadOptionError, match="takes no options"):
        Registry().load(parse("rot47:5"))
