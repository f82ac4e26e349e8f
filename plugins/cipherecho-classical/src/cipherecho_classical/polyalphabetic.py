r"""The basis of ciphers with a running key: a sliding strip, made fast.

It has no cipher itself.  Vigenère, Beaufort, Porta and autokey import it.

>>> caesar = Tableau((ALPHABET, ALPHABET))
>>> encrypt = RepeatingKey(caesar, numbers_of("LEMON"))
>>> encrypt(b"Attack"), encrypt(b"at dawn!")
(b'Lxfopv', b'ef rnhr!')
"""

from __future__ import annotations

import string
from abc import ABC, abstractmethod

from cipherecho.cipher import OptionError

__all__ = [
    "ALPHABET",
    "MOST_BYTES",
    "BlockTransform",
    "RepeatingKey",
    "Tableau",
    "is_letter",
    "negative",
    "numbers_of",
]

ALPHABET = string.ascii_uppercase

_LETTERS = string.ascii_letters.encode()
_IS_LETTER = bytes(byte in _LETTERS for byte in range(256))
_WITHOUT_LETTERS = bytes.maketrans(_LETTERS, bytes(len(_LETTERS)))  # NUL in their places

# The number of everything but letters in a tableau, which has 104 numbers for letters.  With
# the number of a key added, it still isn't a letter's, and still fits a byte.
_NO_LETTER = 128

MOST_BYTES = 254
"""The longest block that can be looked up at once: see :meth:`Tableau.look_up`."""


def numbers_of(key: str) -> bytes:
    """Return the places of a key's letters in the alphabet, from 0 for A to 25 for Z.

    Raises:
      OptionError: `key`, the value of an option of that name, is not one or more letters A-Z
        in either case.

    >>> list(numbers_of("Abz"))
    [0, 1, 25]
    """
    if not (key.isascii() and key.isalpha()):
        raise OptionError("key", key, "one or more letters A-Z")
    return bytes(ALPHABET.index(letter) for letter in key.upper())


def negative(numbers: bytes) -> bytes:
    """Return the shifts to the left that undo `numbers`, shifts to the right.

    >>> list(negative(bytes([0, 1, 25])))
    [0, 25, 1]
    """
    return numbers.translate(_NEGATIVE)


_NEGATIVE = bytes(-number % 26 for number in range(256))


def is_letter(body: bytes) -> bytes:
    """Return one byte for each of `body`: 1 for an ASCII letter, 0 for anything else."""
    return body.translate(_IS_LETTER)


class Tableau:
    """An alphabet for each number of a key, as a sliding strip makes them.

    A slide is a strip of plaintext letters and a strip of ciphertext letters of the same length.
    With key 0 the strips lie side by side, and each further number moves the ciphertext
    strip one place on, end to end.  So the letter at place n becomes the letter at place n + key.
    Auguste Kerckhoffs described such strips in 1883, and named them after the academy of
    Saint-Cyr.  Small letters have the same slides as capitals.

    Args:
      slides: pairs of strips.  Together, the plaintext strips are the letters A-Z, and so
        are the ciphertext strips.
    """

    __slots__ = ("_to_letter", "_to_number")

    def __init__(self, *slides: tuple[str, str]) -> None:
        # Each letter's number leaves room to add the key's: a strip is written twice, instead of
        # reducing the sum modulo its length.
        letters = b""
        to_number = bytearray([_NO_LETTER] * 256)
        for plain, cipher in slides:
            for case in (str.upper, str.lower):
                for number, letter in enumerate(case(plain).encode(), len(letters)):
                    to_number[letter] = number
                letters += case(cipher).encode() * 2
        self._to_number = bytes(to_number)
        self._to_letter = letters.ljust(256, b"\0")

    def look_up(self, body: bytes, letters: bytes, keys: bytes) -> bytes:
        """Return `body` with its letters replaced, each by the next of `keys`.

        No Python code runs for each byte or each word: all bytes together are one large
        number, with a digit to the base 256 for each byte, so that one addition adds all keys to
        all letters.  On lines of English text, this is more than twice as fast as re.sub with a
        call for each word, whatever the length of the key.

        Args:
          body: at most 254 bytes.
          letters: what :func:`is_letter` returns for `body`; the caller needs it anyway, to
            count the letters.
          keys: 256 numbers, each below the length of the slides.  Each letter uses one; the
            rest may be any numbers that small.
        """
        size = len(body)
        large = int.from_bytes  # to look it up five times took 5% of the time of a short line
        # How many letters come before each byte.  1/255 is 0.010101... to the base 256, so
        # dividing a number by 255 makes each digit the sum of all digits before it, as long as
        # no sum reaches 255.
        letters_before = (large(letters) // 255).to_bytes(size)
        shifts = letters_before.translate(keys)
        numbers = body.translate(self._to_number)
        moved = (large(numbers) + large(shifts)).to_bytes(size)
        coded = moved.translate(self._to_letter)
        others = body.translate(_WITHOUT_LETTERS)
        return (large(coded) | large(others)).to_bytes(size)


class BlockTransform(ABC):
    """A transform that codes a line in blocks that :meth:`Tableau.look_up` accepts."""

    __slots__ = ()

    def __call__(self, body: bytes) -> bytes:
        """Return the code of `body`."""
        if len(body) <= MOST_BYTES:
            return self.code_block(body)
        starts = range(0, len(body), MOST_BYTES)
        return b"".join([self.code_block(body[start : start + MOST_BYTES]) for start in starts])

    @abstractmethod
    def code_block(self, body: bytes) -> bytes:
        """Return the code of at most 254 bytes, and advance the state."""


class RepeatingKey(BlockTransform):
    """Codes each letter with the next number of `keys`, and starts over after the last.

    Only letters use up the key.  It continues from line to line.
    """

    __slots__ = ("_keys", "_period", "_position", "_tableau")

    def __init__(self, tableau: Tableau, keys: bytes, position: int = 0) -> None:
        self._tableau = tableau
        self._period = len(keys)
        self._keys = keys * (256 // self._period + 2)  # 256 from any position
        self._position = position

    def __deepcopy__(self, memo: dict[int, object]) -> RepeatingKey:
        return RepeatingKey(self._tableau, self._keys[: self._period], self._position)

    def code_block(self, body: bytes) -> bytes:
        letters = body.translate(_IS_LETTER)
        position = self._position
        self._position = (position + letters.count(1)) % self._period
        return self._tableau.look_up(body, letters, self._keys[position : position + 256])
