"""The cipher new-cipher."""

import string
from dataclasses import dataclass
from typing import Annotated

from cipherecho.cipher import Range, Vector, letter_table


@dataclass(frozen=True)
class NewCipher:
    """Moves every letter some places along the alphabet.

    Say here what your cipher does, where it comes from and what is weak about it:
    `cipherecho ciphers new-cipher` shows this.
    """

    shift: Annotated[int, Range(0, 25), "how many places"] = 1

    vectors = (
        Vector("Hal", "Ibm", source="worked out by hand"),
        Vector("abc xyz", "def abc", source="worked out by hand", options="3"),
    )

    @property
    def table(self) -> bytes:
        alphabet = string.ascii_uppercase
        return letter_table(alphabet[self.shift :] + alphabet[: self.shift])
