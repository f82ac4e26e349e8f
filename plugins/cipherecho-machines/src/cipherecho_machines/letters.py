"""What all ciphers of this package share: they code letters, and leave the rest in its place."""

from __future__ import annotations

import string
from collections.abc import Callable

__all__ = ["code_letters", "is_alphabet", "numbers_of"]

_LETTERS = string.ascii_letters.encode()
_OTHERS = bytes(set(range(256)) - set(_LETTERS))
_IS_LETTER = bytes(byte in _LETTERS for byte in range(256))
# A letter is the sum of A or a, by its case, and a number from 0 to 25.
_TO_NUMBER = bytes.maketrans(_LETTERS, bytes([*range(26), *range(26)]))
_TO_FIRST = bytes.maketrans(_LETTERS, b"a" * 26 + b"A" * 26)


def code_letters(body: bytes, code: Callable[[bytes], bytes]) -> bytes:
    r"""Return `body` with its letters coded in their case, and everything else in its place.

    `code` receives only the letters of `body`, as numbers from 0 for A to 25 for Z, and returns
    as many numbers.

    >>> code_letters("Größe!".encode(), lambda numbers: numbers[::-1]).decode()
    'Erößg!'
    """
    letters = body.translate(None, _OTHERS)
    coded = code(letters.translate(_TO_NUMBER))
    # As large numbers, with a digit to the base 256 for each byte, so that one addition gives
    # every letter its case; no sum reaches 256, so no digit carries.
    first = letters.translate(_TO_FIRST)
    coded = (int.from_bytes(coded) + int.from_bytes(first)).to_bytes(len(letters))
    if len(letters) == len(body):
        return coded
    # Twice as fast as cutting the body at its other bytes if there are many, and not much slower
    # if there are few.
    next_of = iter(coded)
    is_letter = body.translate(_IS_LETTER)
    return bytes(
        [next(next_of) if letter else byte for byte, letter in zip(body, is_letter, strict=True)]
    )


def numbers_of(letters: str) -> bytes:
    """Return ASCII letters of either case as numbers from 0 for A to 25 for Z.

    >>> list(numbers_of("AbZ"))
    [0, 1, 25]
    """
    return letters.encode("ascii").translate(_TO_NUMBER)


def is_alphabet(text: str) -> bool:
    """Return whether `text` is the 26 letters A-Z in any order, in either case.

    >>> is_alphabet("zyxwvutsrqponmlkjihgfedcba"), is_alphabet("ABC")
    (True, False)
    """
    return text.isascii() and sorted(text.upper()) == list(string.ascii_uppercase)
