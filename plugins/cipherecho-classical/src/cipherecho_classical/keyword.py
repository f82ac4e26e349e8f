"""The keyword cipher, a substitution that starts with a word."""

import string
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from cipherecho.cipher import OptionError, Vector, letter_table

__all__ = ["Keyword"]


@dataclass(frozen=True)
class Keyword:
    """Replaces A, B, C and so on by the letters of a word, then by the remaining letters.

    With the key ZEBRAS, the alphabet becomes ZEBRASCDFGHIJKLMNOPQTUVWXY; a letter that
    occurs twice in the key counts once.  So people can memorize a mixed alphabet, as the Argenti,
    the popes' cipher secretaries, found out in the sixteenth century.  Al-Kindi had
    described the attack in the ninth: count the letters, and the commonest is probably E.
    The end of the alphabet often stays as it is, which helps the attacker.
    """

    key: Annotated[str, "one or more letters A-Z, small ones too; each counts once"]

    vectors = (
        Vector(
            "flee at once. we are discovered!",
            "siaa zq lkba. va zoa rfpbluaoar!",
            source="Wikipedia, «Substitution cipher», «Simple substitution» (which writes "
            "the ciphertext in capitals)",
            options="zebras",
        ),
        Vector(
            "KNOWLEDGE IS POWER",
            "DGHVETPST BM IHVTL",
            source="Wikipedia, «Keyword cipher», the example",
            options="KRYPTOS",
        ),
        Vector(
            "Abcdefg hijklm\nNOPQRST uvwxyz, Größe 7!",
            "Constel aibdfg\nHJKMPQR uvwxyz, Lpößt 7!",
            source="our own, letter by letter, with the keyed alphabet CONSTELAI of «ACA and You», "
            "chapter 7, and the rest of the letters after it",
            options="key=CONSTELLATION",
        ),
    )

    def __post_init__(self) -> None:
        if not (self.key.isascii() and self.key.isalpha()):
            raise OptionError("key", self.key, "one or more letters A-Z")

    @cached_property
    def table(self) -> bytes:
        """The 256-byte table of the substitution."""
        return letter_table("".join(dict.fromkeys(self.key.upper() + string.ascii_uppercase)))
