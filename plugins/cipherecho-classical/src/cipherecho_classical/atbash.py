"""Atbash, the alphabet read backwards."""

import string
from dataclasses import dataclass

from cipherecho.cipher import Vector, letter_table

__all__ = ["Atbash"]


@dataclass(frozen=True)
class Atbash:
    """Replaces A by Z, B by Y, and so on; twice is the original.

    Hebrew scribes used it with their own alphabet, and named it after the first two pairs,
    aleph and tav, beth and shin.  The Book of Jeremiah, of the sixth century BC, writes Sheshach
    for Babel with it (25:26 and 51:41).  It has no key, so anybody who knows it can read it, and
    anybody else can find it out by counting letters.
    """

    table = letter_table(string.ascii_uppercase[::-1])

    vectors = (
        Vector(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            "ZYXWVUTSRQPONMLKJIHGFEDCBA",
            source="Wikipedia, «Atbash», the table for the modern Latin alphabet",
        ),
        Vector(
            "hob holy horn zoo irk low glow grog",
            "sly slob slim all rip old told tilt",
            source="Wikipedia, «Atbash», English words that become other English words",
        ),
        Vector(
            "Größe, café\nAbc 7!",
            "Tiößv, xzué\nZyx 7!",
            source="our own, letter by letter: foreign letters and digits stay, case is kept",
        ),
    )
