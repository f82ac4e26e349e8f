r"""The Porta cipher, which swaps the halves of the alphabet.

>>> encrypt = Porta("LEMON").encryptor()
>>> encrypt(b"Attack"), encrypt(b"at dawn!")
(b'Seauvp', b'pa xtel!')
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cipherecho.cipher import Transform, Vector
from cipherecho_classical.polyalphabetic import ALPHABET, RepeatingKey, Tableau, numbers_of

__all__ = ["Porta"]


@dataclass(frozen=True)
class Porta:
    """Pairs each letter of A-M with one of N-Z, in one of 13 ways that a key selects.

    The keys A and B pair A with N, B with O, and so on; C and D pair A with O, L with Z, and M
    with N; each further two letters of the key move the second half one place on.  Pairs work
    both ways, so the same steps with the same key decrypt.  Giovan Battista Bellaso had
    such tables in 1553, but Giovanni Battista della Porta's book of 1563 made them known.
    A ciphertext letter gives away the half that its plaintext letter is in, and there are
    only half as many alphabets as Vigenère has, so the cipher is broken in the same way, and
    sooner.  This is the table of M. E. Ohaver and of the American Cryptogram Association; an older
    one, which is still in use, moves the half the other way.
    """

    key: Annotated[str, "one or more letters A-Z, small ones too; used again and again"]

    stretches = True  # line endings aren't letters, so they stay

    vectors = (
        Vector(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            "TUVWXYZNOPQRSHIJKLMABCDEFG",
            source="M. E. Ohaver, Solving Cipher Secrets, in Flynn's of 23 June 1928: the "
            "line «MN» of the table, read both ways",
            options="M",
        ),
        Vector(
            "DEFENDTHEEASTWALLOFTHECASTLE",
            "SYNNJSCVRNRLAHUTUKUCVRYRLANY",
            source="James Lyons, Practical Cryptography, «Porta Cipher», the example",
            options="FORTIFICATION",
        ),
        Vector(
            "Defend\nthe east, in the Größe of 7\n\nCASTLE!",
            "Synnjs\ncvr nrla, xg lqv Vaößs bo 7\n\nTUMESZ!",
            source="our own, letter by letter: the key continues across other characters and "
            "from line to line",
            options="key=fortification",
        ),
    )

    def __post_init__(self) -> None:
        numbers_of(self.key)

    def encryptor(self) -> Transform:
        """Return a transform that starts at the first letter of the key."""
        return RepeatingKey(_TABLEAU, bytes(number // 2 for number in numbers_of(self.key)))

    decryptor = encryptor


# From A-M to N-Z is a slide like any other.  From N-Z to A-M, letters move the other way, so
# both strips run backwards.
_TABLEAU = Tableau(
    (ALPHABET[:13], ALPHABET[13:]), ("N" + ALPHABET[:13:-1], "A" + ALPHABET[12:0:-1])
)
