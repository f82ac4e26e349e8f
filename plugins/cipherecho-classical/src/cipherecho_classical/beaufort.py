r"""The Beaufort cipher, which subtracts the plaintext from the key.

>>> encrypt = Beaufort("FORT").encryptor()
>>> encrypt(b"Hello"), encrypt(b"World!")
(b'Ykgir', b'Sdcul!')
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cipherecho.cipher import Transform, Vector
from cipherecho_classical.polyalphabetic import ALPHABET, RepeatingKey, Tableau, numbers_of

__all__ = ["Beaufort"]


@dataclass(frozen=True)
class Beaufort:
    """Replaces each letter by the distance from it to the next letter of a key.

    With A as 0, ciphertext is key minus plaintext, modulo 26; so plaintext is key minus
    ciphertext, and the same steps with the same key decrypt.  Giovanni Sestri described
    it in 1710.  It is called after Admiral Francis Beaufort, known for his scale of winds,
    because it was published under his name in 1870, for telegrams and post cards.  The Hagelin
    M-209, a machine, did the same with a far longer key.  With a repeating key, it is broken
    like the Vigenère cipher: repeats give away the length of the key, and the frequencies
    of the letters give away the rest.
    """

    key: Annotated[str, "one or more letters A-Z, small ones too; used again and again"]

    stretches = True  # line endings aren't letters, so they stay

    vectors = (
        Vector(
            "d",
            "j",
            source="Wikipedia, «Beaufort cipher», «Using the cipher» (with the ciphertext as a "
            "capital)",
            options="m",
        ),
        Vector(
            "DEFENDTHEEASTWALLOFTHECASTLE",
            "CKMPVCPVWPIWUJOGIUAPVWRIWUUK",
            source="James Lyons, Practical Cryptography, «Beaufort Cipher», the example",
            options="FORTIFICATION",
        ),
        Vector(
            "Defend\nthe east, in the Größe of 7\n\nCASTLE!",
            "Ckmpvc\npvw piwu, xb yme Zrößy mo 7\n\nGOVMDN!",
            source="our own, letter by letter: the key continues across other characters and "
            "from line to line",
            options="key=fortification",
        ),
    )

    def __post_init__(self) -> None:
        numbers_of(self.key)

    def encryptor(self) -> Transform:
        """Return a transform that starts at the first letter of the key."""
        return RepeatingKey(_TABLEAU, numbers_of(self.key))

    decryptor = encryptor


# The plaintext strip runs backwards, so that a letter's place is its distance to the next A:
# 0 for A, 25 for B, 1 for Z.
_TABLEAU = Tableau(("A" + ALPHABET[:0:-1], ALPHABET))
