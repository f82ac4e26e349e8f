"""The bifid cipher, which mixes the rows of letters with their columns.

>>> cipher = Bifid("BGWKZQPNDSIOAXEFCLUMTHYVR")
>>> cipher.encrypt(b"Flee at once!"), cipher.decrypt(b"UAEOL WRINS")
(b'UAEOLWRINS', b'FLEEATONCE')
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from cipherecho.cipher import Range, Vector
from cipherecho_classical.polybius import A_TO_Z_WITHOUT_J, Square, letters_of, square_of

__all__ = ["Bifid"]


@dataclass(frozen=True)
class Bifid:
    """Takes letters apart into row and column, writes all rows first, and pairs up anew.

    Each letter stands in a square of 25.  The rows of a group of letters, followed by their
    columns, are read as new pairs of row and column, and each pair is a letter again: half of
    each letter goes here and half there.  Félix Delastelle thought of it towards 1901; no
    army is known to have used it, but puzzlers like it.  The group is the whole line, or
    has a fixed length, the period.  A period shows in the counts of letters that are half a
    period apart, and a guessed word then gives away the square piece by piece.

    A decrypted line has only capital letters, with I for J, without white space and
    punctuation.  Digits and letters other than A to Z are refused, since the message would
    change without them.
    """

    square: Annotated[
        str, "the 25 letters A-Z without J, row by row, or a key word that comes before the rest"
    ]
    # A period of 1 changes nothing, like a shift of 0; the longest is that of the longest line,
    # unless the server has another limit.
    period: Annotated[
        int | None, Range(1, 65_536), "letters in a group; the whole line if not given"
    ] = None

    # Spacing, case and J are lost.
    lossy = True

    vectors = (
        Vector(
            "FLEEATONCE",
            "UAEOLWRINS",
            source="Wikipedia, «Bifid cipher», the example under «Operation»",
            options="BGWKZQPNDSIOAXEFCLUMTHYVR",
        ),
        Vector(
            "DEFENDTHEEASTWALLOFTHECASTLE",
            "FFYHMKHYCPLIASHADTRLHCCHLBLR",
            source="Practical Cryptography, «Bifid Cipher», the example with period 5",
            options="square=PHQGMEAYLNOFDXKRCVSZWBUTI,period=5",
        ),
        Vector(
            "PROGRAMMINGPRAXIS",
            "OMQNHHQWUIGBIMWCS",
            source="Programming Praxis, «Bifid Cipher», 13 October 2009, with the alphabet "
            "for a square",
            options="A",
        ),
    )

    def __post_init__(self) -> None:
        square_of("square", self.square, A_TO_Z_WITHOUT_J)

    @cached_property
    def _square(self) -> Square:
        return Square(square_of("square", self.square, A_TO_Z_WITHOUT_J), "12345")

    def encrypt(self, body: bytes) -> bytes:
        """Return the ciphertext of the letters of `body`, in capitals.

        Raises:
          InputError: `body` is not UTF-8, or has a digit or any other character that is
            neither a letter A-Z nor white space nor punctuation.
        """
        letters = letters_of(body, A_TO_Z_WITHOUT_J)
        return "".join(map(self._mixed, self._groups(letters))).encode()

    def decrypt(self, body: bytes) -> bytes:
        """Return the letters that were encrypted, in capitals.

        White space and punctuation in `body` are ignored, such as between groups of five.

        Raises:
          InputError: no line encrypts to `body`: it is not UTF-8, or has characters other than
            letters A-Z without J.
        """
        letters = letters_of(body, A_TO_Z_WITHOUT_J, fold_j=False)
        return "".join(map(self._unmixed, self._groups(letters))).encode()

    def _groups(self, letters: str) -> Iterator[str]:
        size = self.period or len(letters) or 1
        return (letters[start : start + size] for start in range(0, len(letters), size))

    def _mixed(self, group: str) -> str:
        coordinates = self._square.coordinates(group)
        return self._square.letters(coordinates[::2] + coordinates[1::2])

    def _unmixed(self, group: str) -> str:
        coordinates = self._square.coordinates(group)
        rows, columns = coordinates[: len(group)], coordinates[len(group) :]
        return self._square.letters("".join(map(str.__add__, rows, columns)))
