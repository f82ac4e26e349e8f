r"""The autokey cipher, whose key is a word and then the plaintext itself.

>>> encrypt = Autokey("QUEENLY").encryptor()
>>> encrypt(b"Attack"), encrypt(b"at dawn!")
(b'Qnxepv', b'yt wtwp!')
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cipherecho.cipher import Transform, Vector
from cipherecho_classical.polyalphabetic import (
    ALPHABET,
    BlockTransform,
    Tableau,
    is_letter,
    negative,
    numbers_of,
)

__all__ = ["Autokey"]


@dataclass(frozen=True)
class Autokey:
    """Moves each letter as far as a key says, and after its end, as the plaintext does.

    So the key never repeats, and Kasiski's search for repeats finds nothing.  Blaise de
    Vigenère described it in 1586; his name went to the simpler cipher with a repeated key,
    which wasn't his.  Its weakness is that the key is text too: try a likely word such as THE at
    each place of the key, and where the guess is right, a piece of plaintext appears, which
    is a piece of the key further on.  Only letters use up the key, and it continues from line
    to line.  A wrong letter in the ciphertext spoils every later letter that is a multiple of the
    key's length away.
    """

    key: Annotated[str, "one or more letters A-Z, small ones too; used once, then the plaintext"]

    stretches = True  # line endings aren't letters, so they stay

    vectors = (
        Vector(
            "attackatdawn",
            "qnxepvytwtwp",
            source="Wikipedia, «Autokey cipher», «Method» (with the ciphertext in capitals)",
            options="QUEENLY",
        ),
        Vector(
            "meetatthefountain",
            "wmpmmxxaeyhbryoca",
            source="Wikipedia, «Autokey cipher», «Cryptanalysis» (with the ciphertext in capitals)",
            options="key=KILT",
        ),
        Vector(
            "DEFENDTHEEASTWALLOFTHECASTLE",
            "ISWXVIBJEXIGGZEQPBIMOIGAKMHE",
            source="James Lyons, Practical Cryptography, «Autokey Cipher», the example",
            options="FORTIFICATION",
        ),
        Vector(
            "Meet at\nthe fountain, in the Größe of 7\n\nKILTS!",
            "Wmpm mx\nxae yhbryoca, bn bum Tkößl sl 7\n\nBMZYC!",
            source="our own, letter by letter: the second example again, with the key "
            "continuing across other characters and from line to line",
            options="kilt",
        ),
    )

    def __post_init__(self) -> None:
        numbers_of(self.key)

    def encryptor(self) -> Transform:
        """Return a transform that starts at the first letter of the key."""
        return _Encryptor(numbers_of(self.key))

    def decryptor(self) -> Transform:
        """Return a transform that undoes what :meth:`encryptor` makes."""
        return _Decryptor(numbers_of(self.key))


_TABLEAU = Tableau((ALPHABET, ALPHABET))

# From bytes to letter numbers, the same for capitals and small letters, and the bytes to drop.
_NUMBERS = bytes(ALPHABET.find(chr(byte).upper()) % 26 if byte < 128 else 0 for byte in range(256))
_NO_LETTERS = bytes(byte for byte in range(256) if not is_letter(bytes([byte]))[0])

# The sums of two letter numbers, which are at most 50, modulo 26.
_REDUCED = bytes(number % 26 for number in range(256))


class _Encryptor(BlockTransform):
    """Moves letters to the right for one connection.

    `recent` moves the next letters: the key, or the plaintext's last letters, as many as the
    key has.
    """

    __slots__ = ("_recent",)

    def __init__(self, recent: bytes) -> None:
        self._recent = recent

    def __deepcopy__(self, memo: dict[int, object]) -> _Encryptor:
        return type(self)(self._recent)

    def code_block(self, body: bytes) -> bytes:
        plaintext = body.translate(_NUMBERS, _NO_LETTERS)
        return _TABLEAU.look_up(body, is_letter(body), self._keys_before(plaintext))

    def _keys_before(self, plaintext: bytes) -> bytes:
        keys = self._recent + plaintext
        self._recent = keys[len(plaintext) :]
        return keys[:256].ljust(256, b"\0")


class _Decryptor(_Encryptor):
    """Moves letters to the left for one connection; `recent` as in :class:`_Encryptor`."""

    __slots__ = ()

    def code_block(self, body: bytes) -> bytes:
        plaintext = self._plaintext(body.translate(_NUMBERS, _NO_LETTERS))
        return _TABLEAU.look_up(body, is_letter(body), negative(self._keys_before(plaintext)))

    def _plaintext(self, ciphertext: bytes) -> bytes:
        """Return the numbers of the plaintext letters for those of the ciphertext.

        Each letter depends on the plaintext letter one key length before it, so it seems that
        only one key length can be decrypted at a time.  But let y be the delay by that length:
        then ciphertext = (1 + y) plaintext, and 1 / (1 + y) = (1 - y)(1 + y²)(1 + y⁴)(1 + y⁸)...
        Each factor is one addition of large numbers.  A delay is a shift to the right by whole
        bytes, and a delay longer than the block contributes nothing.
        """
        size, delay = len(ciphertext), len(self._recent)
        plaintext = _sum(ciphertext, negative(self._recent[:size].ljust(size, b"\0")), 0)
        if delay < size:
            plaintext = _sum(plaintext, negative(plaintext), delay)
        while (delay := 2 * delay) < size:
            plaintext = _sum(plaintext, plaintext, delay)
        return plaintext


def _sum(numbers: bytes, others: bytes, delay: int) -> bytes:
    """Return each number plus the one of `others` that is `delay` before it, modulo 26."""
    total = int.from_bytes(numbers) + (int.from_bytes(others) >> 8 * delay)
    return total.to_bytes(len(numbers)).translate(_REDUCED)
