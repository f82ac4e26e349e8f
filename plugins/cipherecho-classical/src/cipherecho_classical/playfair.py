"""The Playfair cipher, which replaces letters two at a time.

>>> cipher = Playfair("playfair example")
>>> cipher.encrypt(b"Hide the gold!"), cipher.decrypt(b"BMODZ BXDNA GE")
(b'BMODZBXDNAGE', b'HIDETHEGOLDX')
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from cipherecho.cipher import InputError, OptionError, Vector
from cipherecho_classical.polybius import A_TO_Z_WITHOUT_J, filled, letters_of

__all__ = ["Playfair"]


@dataclass(frozen=True)
class Playfair:
    """Replaces each pair of letters by another pair, from a square that begins with a key word.

    Two letters of one row are replaced by their right neighbours, two of one column by
    those below, and any others by the other two corners of their rectangle.  Charles
    Wheatstone wrote it down in 1854, and his friend Lord Playfair talked the British
    government into it; it served in the field into the First World War.  In 1914 Joseph
    Mauborgne published how to solve it: there are only 600 pairs to count, a reversed
    pair becomes the reversed ciphertext, and no letter ever stands for itself.

    A decrypted line has only capital letters, with I for J, without white space and
    punctuation, and keeps the pads.  A pad stands between two equal letters that would be a
    pair, and after a last letter without a partner; next to a letter that is the pad itself, it is
    X, or Q if the pad is X.  Digits and letters other than A to Z are refused, since the
    message would change without them.
    """

    key: Annotated[str, "one or more letters A-Z; spaces between them are ignored"]
    pad: Annotated[str, "the letter that splits doubles and fills up the last pair"] = "X"

    # Spacing, case and J are lost, and pads stay.
    lossy = True

    vectors = (
        Vector(
            "HIDETHEGOLDINTHETREXESTUMP",
            "BMODZBXDNABEKUDMUIXMMOUVIF",
            source="Wikipedia, «Playfair cipher», the example: «hide the gold in the tree "
            "stump», as it is written out in pairs",
            options="playfair example",
        ),
        Vector(
            "MEETMEATHAMXMERSMITHBRIDGETONIGHTX",
            "GDDOGDRQARKYGDHDNKPRDAMSOGUPGKICQY",
            source="Simon Singh, The Code Book (1999), the appendix on the Playfair cipher: "
            "«meet me at hammersmith bridge tonight», as it is written out in pairs",
            options="key=CHARLES",
        ),
        Vector(
            "BALXLOON\n\nXQXQ",
            "CBNVMPPO\n\nVSVS",
            source="our own, by hand, with the alphabet for a square: «balloon», and «xx», whose "
            "letters the pad can't split",
            options="A",
        ),
    )

    def __post_init__(self) -> None:
        filled("key", self.key, A_TO_Z_WITHOUT_J)
        if not (len(self.pad) == 1 and self.pad.isascii() and self.pad.isalpha()):
            raise OptionError("pad", self.pad, "one letter A-Z")

    def encrypt(self, body: bytes) -> bytes:
        """Return the ciphertext of the letters of `body`, in capitals.

        Raises:
          InputError: `body` is not UTF-8, or has a digit or any other character that is
            neither a letter A-Z nor white space nor punctuation.
        """
        pairs = self._paired(letters_of(body, A_TO_Z_WITHOUT_J))
        return "".join(map(self._codes.__getitem__, pairs)).encode()

    def decrypt(self, body: bytes) -> bytes:
        """Return the letters that were encrypted, in capitals, with the pads among them.

        White space and punctuation in `body` are ignored, such as between groups of five.

        Raises:
          InputError: no line encrypts to `body`: it is not UTF-8, has characters other than
            letters A-Z without J, an odd number of letters, or a pair of equal letters.
        """
        letters = letters_of(body, A_TO_Z_WITHOUT_J, fold_j=False)
        if len(letters) % 2:
            raise InputError(f"got {len(letters)} letters, expected pairs, so an even number")
        pairs = [letters[place : place + 2] for place in range(0, len(letters), 2)]
        for number, pair in enumerate(pairs, 1):
            if pair not in self._plain:
                raise InputError(f"got {pair!r} for pair {number}, expected two different letters")
        return "".join(map(self._plain.__getitem__, pairs)).encode()

    def _paired(self, letters: str) -> list[str]:
        """Return `letters` in pairs of two that differ, with pads where they are needed."""
        pad = "I" if self.pad in "Jj" else self.pad.upper()
        pad_for_pad = "Q" if pad == "X" else "X"
        pairs = []
        place = 0
        while place < len(letters):
            first, second = letters[place], letters[place + 1 : place + 2]
            if second and first != second:
                place += 2
            else:
                second = pad if first != pad else pad_for_pad
                place += 1
            pairs.append(first + second)
        return pairs

    @cached_property
    def _codes(self) -> dict[str, str]:
        """The ciphertext of each of the 600 pairs."""
        cells = filled("key", self.key, A_TO_Z_WITHOUT_J)
        codes = {}
        for one, first in enumerate(cells):
            for other, second in enumerate(cells):
                row, column = divmod(one, 5)
                other_row, other_column = divmod(other, 5)
                if one == other:
                    continue
                if row == other_row:
                    column, other_column = (column + 1) % 5, (other_column + 1) % 5
                elif column == other_column:
                    row, other_row = (row + 1) % 5, (other_row + 1) % 5
                else:
                    column, other_column = other_column, column
                code = cells[5 * row + column] + cells[5 * other_row + other_column]
                codes[first + second] = code
        return codes

    @cached_property
    def _plain(self) -> dict[str, str]:
        return {code: pair for pair, code in self._codes.items()}
