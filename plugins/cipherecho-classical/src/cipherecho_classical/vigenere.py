r"""The Vigenère cipher, whose key continues from line to line.

>>> encrypt = Vigenere("LEMON").encryptor()
>>> encrypt(b"Attack"), encrypt(b"at dawn!")
(b'Lxfopv', b'ef rnhr!')
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cipherecho.cipher import Transform, Vector
from cipherecho_classical.polyalphabetic import (
    ALPHABET,
    RepeatingKey,
    Tableau,
    negative,
    numbers_of,
)

__all__ = ["Vigenere"]


@dataclass(frozen=True)
class Vigenere:
    """Moves each letter as far as the next letter of a key says: A by none, B by one.

    Giovan Battista Bellaso published it in 1553; the nineteenth century credited it to
    Blaise de Vigenère and called it indecipherable.  In 1863 Friedrich Kasiski showed
    how wrong that was: repeated stretches of ciphertext give away the length of the key,
    and then each letter of the key is one Caesar cipher to break.  Only letters use up the
    key, and it continues from line to line.
    """

    key: Annotated[str, "one or more letters A-Z, small ones too; used again and again"]

    stretches = True  # line endings aren't letters, so they stay

    vectors = (
        Vector(
            "ATTACKATDAWN",
            "LXFOPVEFRNHR",
            source="Wikipedia, «Vigenère cipher», the example under «Description»",
            options="LEMON",
        ),
        Vector(
            "CRYPTOISSHORTFORCRYPTOGRAPHY",
            "CSASTPKVSIQUTGQUCSASTPIUAQJB",
            source="Wikipedia, «Vigenère cipher», the example of a Kasiski examination",
            options="key=ABCD",
        ),
        Vector(
            "Attack\nat dawn, in the Größe of 7\n\nLEMONS!",
            "Lxfopv\nef rnhr, ub gsi Sfößr zj 7\n\nXSZZRE!",
            source="our own, letter by letter: the first example again, with the key "
            "continuing across other characters and from line to line",
            options="lemon",
        ),
    )

    def __post_init__(self) -> None:
        numbers_of(self.key)

    def encryptor(self) -> Transform:
        """Return a transform that starts at the first letter of the key."""
        return RepeatingKey(_TABLEAU, numbers_of(self.key))

    def decryptor(self) -> Transform:
        """Return a transform that undoes what :meth:`encryptor` makes."""
        return RepeatingKey(_TABLEAU, negative(numbers_of(self.key)))


# The Vigenère square: each alphabet is the one before, moved on by one letter.
_TABLEAU = Tableau((ALPHABET, ALPHABET))
