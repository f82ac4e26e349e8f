"""Polybius squares: letters that are known by their row and column.

What the ciphers on such squares have in common, and no cipher itself: how a key word
fills a square, and which letters of a line go into it.
"""

from __future__ import annotations

import string
import unicodedata
from dataclasses import dataclass
from functools import cached_property

from cipherecho.cipher import InputError, OptionError, text_of

__all__ = ["A_TO_Z_0_TO_9", "A_TO_Z_WITHOUT_J", "Square", "filled", "letters_of", "square_of"]

A_TO_Z_WITHOUT_J = string.ascii_uppercase.replace("J", "")
"""The alphabet of a square of 25, which has I for J."""
A_TO_Z_0_TO_9 = string.ascii_uppercase + string.digits
"""The alphabet of a square of 36."""

_CALLED = {A_TO_Z_WITHOUT_J: "letters A-Z", A_TO_Z_0_TO_9: "letters A-Z and digits 0-9"}

# Not str.upper, which turns some foreign letters into A-Z, and some into two letters.
_TO_CAPITALS = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)
_TO_CAPITALS_WITHOUT_J = _TO_CAPITALS | {ord("J"): ord("I"), ord("j"): ord("I")}


@dataclass(frozen=True)
class Square:
    """A square of letters, row by row, and the labels of its rows and columns.

    >>> square = Square(A_TO_Z_WITHOUT_J, "12345")
    >>> square.coordinates("HI"), square.letters("2324")
    ('2324', 'HI')
    """

    cells: str
    labels: str

    @cached_property
    def _coordinates(self) -> dict[str, str]:
        pairs = [row + column for row in self.labels for column in self.labels]
        return dict(zip(self.cells, pairs, strict=True))

    @cached_property
    def _letters(self) -> dict[str, str]:
        return {pair: letter for letter, pair in self._coordinates.items()}

    def coordinates(self, letters: str) -> str:
        """Return the labels of the row and the column of each letter."""
        return "".join(map(self._coordinates.__getitem__, letters))

    def letters(self, coordinates: str) -> str:
        """Return the letters whose coordinates these are: an even number of labels."""
        pairs = map(str.__add__, coordinates[::2], coordinates[1::2])
        return "".join(map(self._letters.__getitem__, pairs))


def filled(option: str, keyword: str, alphabet: str) -> str:
    """Return `alphabet` with the letters of `keyword` first, each letter once.

    Spaces in the key word are ignored; small letters count as capitals, and J as I if the
    alphabet has no J.

    Raises:
      OptionError: `keyword`, the value of `option`, has other characters, or no letters.

    >>> filled("key", "Playfair example", A_TO_Z_WITHOUT_J)
    'PLAYFIREXMBCDGHKNOQSTUVWZ'
    """
    letters = _folded(keyword, alphabet).replace(" ", "")
    if not letters or not set(letters) <= set(alphabet):
        raise OptionError(option, keyword, f"one or more {_CALLED[alphabet]}")
    return "".join(dict.fromkeys(letters + alphabet))


def square_of(option: str, given: str, alphabet: str) -> str:
    """Return the cells of a square; `given` is all of them, or a key word that comes first.

    Raises:
      OptionError: as for :func:`filled`, or `given` is as long as a whole square and repeats a
        letter.  That isn't meant as a key word: it is a slip in copying a square.
    """
    cells = filled(option, given, alphabet)
    if len(given) == len(alphabet) and " " not in given and _folded(given, alphabet) != cells:
        also = "" if "J" in alphabet else ", J being I"
        expected = f"the {_CALLED[alphabet]}, each once{also}, or a shorter key word"
        raise OptionError(option, given, expected)
    return cells


def letters_of(body: bytes, alphabet: str, *, fold_j: bool = True) -> str:
    """Return the letters of a message, in capitals: only those of `alphabet`.

    White space and punctuation are left out.  Any other character is refused, since the
    message would change without it.  If the alphabet has 25 letters, J becomes I; with
    `fold_j` False it is refused, since a ciphertext can't have a J.

    Raises:
      InputError: `body` is not UTF-8, or has a character that is refused.

    >>> letters_of(b"Join us, now!", A_TO_Z_WITHOUT_J)
    'IOINUSNOW'
    """
    text = text_of(body)
    folded = _folded(text, alphabet) if fold_j else text.translate(_TO_CAPITALS)
    others = set(folded) - set(alphabet)
    refused = [other for other in others if not _is_spacing(other)]
    if refused:
        place = min(map(folded.index, refused))
        called = _CALLED.get(alphabet, f"the letters {', '.join(alphabet)}")
        without_j = "" if fold_j else " without J"
        raise InputError(f"got {text[place]!r} at place {place + 1}, expected {called}{without_j}")
    return folded.translate(dict.fromkeys(map(ord, others)))


def _folded(text: str, alphabet: str) -> str:
    without_j = alphabet == A_TO_Z_WITHOUT_J
    return text.translate(_TO_CAPITALS_WITHOUT_J if without_j else _TO_CAPITALS)


def _is_spacing(character: str) -> bool:
    return character.isspace() or unicodedata.category(character).startswith("P")
