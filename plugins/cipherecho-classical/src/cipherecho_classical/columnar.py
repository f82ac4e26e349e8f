"""The columnar transposition, and the functions that other ciphers take from it.

>>> Columnar("ZEBRAS").encrypt(b"Attack at dawn!")
b'cdtt!tana kaA w'
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from cipherecho.cipher import OptionError, Vector, text_of

__all__ = ["Columnar", "column_order", "read_by_columns", "written_by_columns"]


@dataclass(frozen=True)
class Columnar:
    """Writes a line in rows under a key word, and reads it by columns, A's column first.

    A row is as long as the key; of two equal letters in the key, the left one's column comes
    first.  The last row stays incomplete, and nothing is added to the message.  The
    German army went to war in 1914 with two of these, one after the other, and the French
    read its messages within months; agents used them for decades more.  The letters move
    without changing, so their frequencies give away a transposition, and an attacker lays
    columns side by side until the pairs of letters look like language.  It moves characters of
    all kinds, spaces too, each line by itself.
    """

    key: Annotated[str, "one or more letters A-Z, small ones too; a column for each"]

    vectors = (
        Vector(
            "WEAREDISCOVEREDFLEEATONCE",
            "EVLNACDTESEAROFODEECWIREE",
            source="Wikipedia, «Transposition cipher», «Columnar transposition», the "
            "irregular case",
            options="ZEBRAS",
        ),
        Vector(
            "WEAREDISCOVEREDFLEEATONCEQKJEU",
            "EVLNEACDTKESEAQROFOJDEECUWIREE",
            source="Wikipedia, «Transposition cipher», «Columnar transposition», the regular "
            "case: its five nulls are part of the plaintext here",
            options="key=ZEBRAS",
        ),
        Vector(
            "EVLNACDTESEAROFODEECWIREE",
            "CAEENSOIAEDRLEFWEDREEVTOC",
            source="Wikipedia, «Transposition cipher», «Double transposition», the second step",
            options="STRIPE",
        ),
        Vector(
            "Größe: 7 m\n\nab",
            "r:mö Ge ß7\n\nba",
            source="our own, by hand: other characters move as letters do, each line by "
            "itself, and the first of two equal letters of the key is the left one",
            options="daad",
        ),
    )

    def __post_init__(self) -> None:
        column_order(self.key)

    @cached_property
    def _order(self) -> list[int]:
        return column_order(self.key)

    def encrypt(self, body: bytes) -> bytes:
        """Return the characters of `body`, column by column; InputError if it isn't UTF-8."""
        return read_by_columns(text_of(body), self._order).encode()

    def decrypt(self, body: bytes) -> bytes:
        """Return the characters of `body`, row by row again; InputError if it isn't UTF-8."""
        return written_by_columns(text_of(body), self._order).encode()


def column_order(key: str) -> list[int]:
    """Return the numbers of the columns, from 0, in the order of the letters of `key`.

    Raises:
      OptionError: the option ``key`` is not one or more letters A-Z of either case.

    >>> column_order("ZEBRAS")
    [4, 2, 1, 3, 5, 0]
    """
    if not (key.isascii() and key.isalpha()):
        raise OptionError("key", key, "one or more letters A-Z")
    ranks = [string.ascii_uppercase.index(letter) for letter in key.upper()]
    return sorted(range(len(key)), key=ranks.__getitem__)  # equal ranks stay left to right


def read_by_columns(text: str, order: Iterable[int]) -> str:
    """Return `text`, written in rows, column by column.

    >>> read_by_columns("abcde", [1, 0])
    'bdace'
    """
    columns = list(order)
    return "".join(text[column :: len(columns)] for column in columns)


def written_by_columns(text: str, order: Iterable[int]) -> str:
    """Return the text that :func:`read_by_columns` made `text` of.

    >>> written_by_columns("bdace", [1, 0])
    'abcde'
    """
    columns = list(order)
    rows = [""] * len(text)
    start = 0
    for column in columns:
        size = len(range(column, len(text), len(columns)))
        rows[column :: len(columns)] = text[start : start + size]
        start += size
    return "".join(rows)
