"""The ADFGVX cipher, a square and a transposition.

>>> cipher = Adfgvx("NA1C3H8TB2OME5WRPD4F6G7I9J0KLQSUVXYZ", "PRIVACY")
>>> cipher.encrypt(b"Attack at 12:00 am")
b'DGDDDAGDDGAFADDFDADVDVFAADVX'
>>> cipher.decrypt(b"DGDDD AGDDG AFADD FDADV DVFAA DVX")
b'ATTACKAT1200AM'
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from cipherecho.cipher import InputError, Vector
from cipherecho_classical.columnar import column_order, read_by_columns, written_by_columns
from cipherecho_classical.polybius import A_TO_Z_0_TO_9, Square, letters_of, square_of

__all__ = ["Adfgvx"]

_LABELS = "ADFGVX"


@dataclass(frozen=True)
class Adfgvx:
    """Writes each letter as two of A, D, F, G, V and X, and transposes those by a key.

    The two name the row and the column of the letter, or digit, in a square of 36; a
    columnar transposition then tears the two apart.  These six letters are hard to mistake for
    each other in Morse.  Fritz Nebel designed the cipher for the German army, which used it from
    March 1918, at first without the V.  That spring, Georges Painvin broke the keys of some days
    from messages that began or ended alike, and fell ill over it.  The letter counts differ between
    the even and the odd places of the rows, which gives away their width; once the columns are in
    order, only a simple substitution is left.

    A decrypted line has only capital letters and digits, without white space and
    punctuation.  Letters other than A to Z are refused, since the message would change
    without them.
    """

    square: Annotated[
        str,
        "the 36 letters A-Z and digits 0-9, row by row, or a key word that comes before the rest",
    ]
    key: Annotated[str, "one or more letters A-Z, small ones too; a column for each"]

    # Spacing and case are lost.
    lossy = True

    vectors = (
        Vector(
            "ATTACKAT1200AM",
            "DGDDDAGDDGAFADDFDADVDVFAADVX",
            source="Wikipedia, «ADFGVX cipher», the example under «ADFGVX»",
            options="NA1C3H8TB2OME5WRPD4F6G7I9J0KLQSUVXYZ,key=PRIVACY",
        ),
        Vector(
            "ATTACKAT10PM",
            "VDGVVDDVDDGXDDFDAADDFDXG",
            source="Simon Singh, The Code Book (1999), the appendix on the ADFGVX cipher",
            options="square=8P3D1NLT4OAH7KBC5ZJU6WGMXSVIR29EY0FQ,key=MARK",
        ),
        Vector(
            "ATTACKAT1200AM",
            "DXXVGDADDAAXDVDXVFGVGFADDVVD",
            source="Crypto Corner, «ADFGVX Cipher», the example with a key word in the square",
            options="147 regiment,key=privacy",
        ),
    )

    def __post_init__(self) -> None:
        square_of("square", self.square, A_TO_Z_0_TO_9)
        column_order(self.key)

    @cached_property
    def _square(self) -> Square:
        return Square(square_of("square", self.square, A_TO_Z_0_TO_9), _LABELS)

    @cached_property
    def _order(self) -> list[int]:
        return column_order(self.key)

    def encrypt(self, body: bytes) -> bytes:
        """Return the ciphertext of the letters and digits of `body`: two capitals for each.

        Raises:
          InputError: `body` is not UTF-8, or has a character that is neither a letter A-Z
            nor a digit nor white space nor punctuation.
        """
        coordinates = self._square.coordinates(letters_of(body, A_TO_Z_0_TO_9))
        return read_by_columns(coordinates, self._order).encode()

    def decrypt(self, body: bytes) -> bytes:
        """Return the letters and digits that were encrypted, in capitals.

        White space and punctuation in `body` are ignored, such as between groups of five.

        Raises:
          InputError: no line encrypts to `body`: it is not UTF-8, has characters other than
            the six letters, or an odd number of letters.
        """
        letters = letters_of(body, _LABELS)
        if len(letters) % 2:
            raise InputError(f"got {len(letters)} letters, expected pairs, so an even number")
        return self._square.letters(written_by_columns(letters, self._order)).encode()
