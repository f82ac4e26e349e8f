"""The affine cipher, a substitution by arithmetic."""

import string
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import Annotated

from cipherecho.cipher import OptionError, Range, Vector, letter_table

__all__ = ["Affine"]


@dataclass(frozen=True)
class Affine:
    """Counts the letters from A as 0, and replaces letter x by letter a·x + b, modulo 26.

    It comes from textbooks rather than from history: one formula covers the Caesar cipher
    (a = 1) and Atbash (a = b = 25).  If a shares a factor with 26, two letters become the
    same one, so only twelve values of a can be undone.  An attacker can try all 12 times 26 keys,
    or, faster still, guess what two letters stand for: that gives two equations for two unknowns.
    """

    a: Annotated[int, Range(1, 25), "the factor of a letter's number; odd, and not 13"]
    b: Annotated[int, Range(0, 25), "the number to add to the product"]

    vectors = (
        Vector(
            "AFFINE CIPHER",
            "IHHWVC SWFRCP",
            source="Wikipedia, «Affine cipher», the worked example of encrypting",
            options="5,b=8",
        ),
        Vector(
            "DEFENDTHEEASTWALLOFTHECASTLE",
            "WBGBUWYQBBHTYNHKKZGYQBRHTYKB",
            source="James Lyons, Practical Cryptography, «Affine Cipher», the example",
            options="a=5,b=7",
        ),
        Vector(
            "Größe, café\nAbc 7!",
            "Tiößv, xzué\nZyx 7!",
            source="our own, letter by letter: the same as Atbash, which is a = b = 25",
            options="a=25,b=25",
        ),
    )

    def __post_init__(self) -> None:
        if gcd(self.a, 26) != 1:
            raise OptionError(
                "a", self.a, "a number with no factor in common with 26: odd, and not 13"
            )

    @cached_property
    def table(self) -> bytes:
        """The 256-byte table of the substitution."""
        alphabet = string.ascii_uppercase
        return letter_table("".join(alphabet[(self.a * x + self.b) % 26] for x in range(26)))
