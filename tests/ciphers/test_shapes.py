"""What is a cipher: the shapes that one may have."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from cipherecho.cipher import Cipher
from cipherecho.ciphers.coder import Coder
from cipherecho.ciphers.composition import chain
from cipherecho.ciphers.shapes import NotACipherError, as_cipher
from tests.helpers.ciphers import Caesar, Numbered, Picky, Reverse, StatelessCaesar

IDENTITY = bytes(range(256))


@pytest.mark.parametrize(
    "cipher",
    [Caesar(), StatelessCaesar(), Numbered(), chain([Numbered(), Picky()])],
    ids=["table", "stateless", "stateful", "chain"],
)
def test_every_shape_of_the_contract_is_a_cipher(cipher: Cipher) -> None:
    assert as_cipher(cipher) is cipher


def test_a_table_that_is_none_leaves_the_other_shapes() -> None:
    class Untabled(Reverse):
        table = None

    assert Coder(as_cipher(Untabled()), inf).code(b"abc", b"\n") == b"cba"


class NoneOfThem:
    encrypt = b"not a method"


@pytest.mark.parametrize("candidate", [None, 13, b"bytes", NoneOfThem()])
def test_an_object_of_no_shape_is_refused_with_its_type_and_what_was_expected(
    candidate: object,
) -> None:
    name = "None" if candidate is None else f"an object of type {type(candidate).__name__}"
    with pytest.raises(NotACipherError) as refusal:
        as_cipher(candidate)
    assert str(refusal.value) == (
        f"got {name}, expected a cipher: an object with a table of 256 bytes, "
        "a method encrypt, or a method encryptor"
    )


def swapped(first: int, second: int) -> bytes:
    table = bytearray(IDENTITY)
    table[first], table[second] = table[second], table[first]
    return bytes(table)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (IDENTITY[:255], "bytes of 255, expected bytes of length 256"),
        (IDENTITY + b"!", "bytes of 257, expected bytes of length 256"),
        (b"", "bytes of 0, expected bytes of length 256"),
        (bytearray(IDENTITY), "bytearray, expected bytes of length 256"),
        ({65: 66}, "dict, expected bytes of length 256"),
        (IDENTITY.replace(b"a", b"b"), "replaces 2 bytes by 0x62, expected a bijection"),
        (bytes(256), "replaces 256 bytes by 0x00, expected a bijection"),
        (swapped(0x0A, 0x0D), "replaces LF or CR, expected both to stay"),
        (swapped(0x0A, 0x41), "replaces LF or CR, expected both to stay"),
        (swapped(0x0D, 0x41), "replaces LF or CR, expected both to stay"),
    ],
    ids=["short", "long", "empty", "bytearray", "dict", "two", "all", "LF, CR", "LF", "CR"],
)
def test_a_table_is_a_bijection_of_256_bytes_that_fixes_lf_and_cr(
    table: Any, complaint: str
) -> None:
    class Tabled:
        def __init__(self, table: Any) -> None:
            self.table = table

    with pytest.raises(NotACipherError) as refusal:
        as_cipher(Tabled(table))
    assert str(refusal.value).startswith("the table of an object of type Tabled ")
    assert str(refusal.value).endswith(complaint)


def test_a_class_is_not_the_cipher_that_it_makes() -> None:
    with pytest.raises(NotACipherError, match="got the class Caesar, expected a cipher"):
        as_cipher(Caesar)


def test_a_method_that_is_none_is_not_offered() -> None:
    cipher = StatelessCaesar()
    cipher.encrypt = None  # type: ignore[method-assign,assignment]
    with pytest.raises(NotACipherError):
        as_cipher(cipher)
