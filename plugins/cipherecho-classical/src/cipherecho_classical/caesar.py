"""The Caesar cipher, a substitution."""

import string
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from cipherecho.cipher import Range, Vector, letter_table

__all__ = ["Caesar"]


@dataclass(frozen=True)
class Caesar:
    """Moves every letter the same number of places along the alphabet of 26.

    Suetonius reports that Julius Caesar wrote D for A, and so on, in letters on
    confidential matters, and that Augustus moved each letter by one.  Only 25 shifts change
    anything, so an attacker can try them all; in a long text the commonest letter gives
    away the shift at once.  It keeps nothing secret.
    """

    # Textbooks too write a shift to the left as a negative shift.  More than a whole turn is
    # a slip rather than a wish, and is refused.
    shift: Annotated[int, Range(-25, 25), "places to the right; to the left if negative"] = 3

    vectors = (
        Vector(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            "DEFGHIJKLMNOPQRSTUVWXYZABC",
            source="Suetonius, Life of Julius Caesar, 56: D for A, and so with the rest "
            "(here of the modern alphabet)",
        ),
        Vector(
            "ABC",
            "BCD",
            source="Suetonius, Life of Augustus, 88: B for A, C for B, and so on "
            "(but AA for the last letter, unlike here)",
            options="1",
        ),
        Vector(
            "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG",
            "QEB NRFZH YOLTK CLU GRJMP LSBO QEB IXWV ALD",
            source="Wikipedia, «Caesar cipher», the example with a left shift of three",
            options="shift=-3",
        ),
        Vector(
            "Größe, café\nXyz 7!",
            "Juößh, fdié\nAbc 7!",
            source="our own: foreign letters and digits stay, case is kept",
        ),
    )

    @cached_property
    def table(self) -> bytes:
        """The 256-byte table of the substitution."""
        alphabet = string.ascii_uppercase
        turn = self.shift % len(alphabet)
        return letter_table(alphabet[turn:] + alphabet[:turn])
