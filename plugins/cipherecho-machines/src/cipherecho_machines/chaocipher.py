r"""Chaocipher: every letter rearranges its two alphabets.

>>> cipher = Chaocipher("HXUCZVAMDSLKPEFJRIGTWOBNYQ", "PTLNBQDEOYSFAVZKGJRIHWXUMC")
>>> encrypt = cipher.encryptor()
>>> encrypt(b"Well"), encrypt(b"done!")
(b'Oahq', b'hcny!')
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cipherecho.cipher import OptionError, Transform, Vector
from cipherecho_machines.letters import code_letters, is_alphabet, numbers_of

__all__ = ["Chaocipher"]


@dataclass(frozen=True)
class Chaocipher:
    """Replaces letters of one alphabet by those of another, and stirs both after each letter.

    John F. Byrne, a friend of James Joyce, invented it in 1918 with two disks in a cigar
    box, and offered it to the American army and navy in vain.  His memoir «Silent Years»
    of 1953 challenged its readers with messages.  His family kept the method secret until
    Moshe Rubin described it in 2010: the plaintext letter is found in the right alphabet, the
    ciphertext letter is at the same place of the left one, both alphabets turn to it, and in each
    of them one letter moves to the middle.  Since the order of the alphabets depends on all text
    before, one wrong letter spoils the rest; but a stretch of known plaintext gives the
    alphabets away, and a computer finds them from messages with the same key.  Only letters
    stir the alphabets, and they stay stirred from line to line.
    """

    left: Annotated[str, "the alphabet of the ciphertext: the letters A-Z, each once"]
    right: Annotated[str, "the alphabet of the plaintext: the letters A-Z, each once"]

    vectors = (
        Vector(
            "WELLDONEISBETTERTHANWELLSAID",
            "OAHQHCNYNXTSZJRRHJBYHQKSOUJY",
            source="Moshe Rubin, «Chaocipher Revealed: The Algorithm» (2010), the example",
            options="left=HXUCZVAMDSLKPEFJRIGTWOBNYQ,right=PTLNBQDEOYSFAVZKGJRIHWXUMC",
        ),
        Vector(
            "ALLGOODQQUICKBROWNFOXESJUMPOVERLAZYDOGTOSAVETHEIRPARTYW",
            "CLYTZPNZKLDDQGFBOOTYSNEPUAGKIUNKNCRINRCVKJNHTOAFQPDPNCV",
            source="John F. Byrne, «Silent Years» (1953), the first line of exhibit 1; the "
            "alphabets: Moshe Rubin, «Chaocipher Revealed: Deciphering Exhibit #1» (2010)",
            options="left=BFVGUHWJKNCPEDQRSTIXYLMOZA,right=CMOPRTUVJXAYZNBQDSEFGHLWIK",
        ),
        Vector(
            "Well done\nis better, in the Größe of 7",
            "Oahq hcny\nnx tszjrr, ju euy Bcößo by 7",
            source="our own: the first example again, continuing across other characters and "
            "from line to line",
            options="hxuczvamdslkpefjrigtwobnyq,right=ptlnbqdeoysfavzkgjrihwxumc",
        ),
    )

    def __post_init__(self) -> None:
        for option, alphabet in ("left", self.left), ("right", self.right):
            if not is_alphabet(alphabet):
                raise OptionError(option, alphabet, "the 26 letters A-Z in any order, each once")

    def encryptor(self) -> Transform:
        """Return a transform that starts with the alphabets as given."""
        left, right = numbers_of(self.left), numbers_of(self.right)
        return _Disks(right, _RIGHT_ORDERS, left, _LEFT_ORDERS)

    def decryptor(self) -> Transform:
        """Return a transform that undoes what :meth:`encryptor` makes."""
        left, right = numbers_of(self.left), numbers_of(self.right)
        return _Disks(left, _LEFT_ORDERS, right, _RIGHT_ORDERS)


def _orders(turn: int, taken: int) -> tuple[bytes, ...]:
    """Return the next order of an alphabet for each place at which a letter is found.

    The alphabet is turned until that place, and `turn` more, comes first.  Then the letter
    `taken` places after the first is taken out, and put back in as the fourteenth.
    """
    orders = []
    for place in range(26):
        turned = [(place + turn + step) % 26 for step in range(26)]
        turned.insert(13, turned.pop(taken))
        orders.append(bytes(turned))
    return tuple(orders)


# order.translate(alphabet) is the alphabet in that order; it takes a third of the time of
# cutting the alphabet into pieces and joining them.  translate needs a table of 256 bytes.
_LEFT_ORDERS = _orders(turn=0, taken=1)
_RIGHT_ORDERS = _orders(turn=1, taken=2)


class _Disks:
    """The two disks of one connection.

    Letters are found on one and replaced by those of the other.  The state is the order of both
    alphabets, as numbers.
    """

    __slots__ = ("_found", "_found_orders", "_other", "_other_orders")

    def __init__(
        self,
        found: bytes,
        found_orders: tuple[bytes, ...],
        other: bytes,
        other_orders: tuple[bytes, ...],
    ) -> None:
        self._found, self._found_orders = found, found_orders
        self._other, self._other_orders = other, other_orders

    def __deepcopy__(self, memo: dict[int, object]) -> _Disks:
        return _Disks(self._found, self._found_orders, self._other, self._other_orders)

    def __call__(self, body: bytes) -> bytes:
        return code_letters(body, self._code)

    def _code(self, numbers: bytes) -> bytes:
        found, found_orders = self._found, self._found_orders
        other, other_orders = self._other, self._other_orders
        coded = bytearray()
        for number in numbers:
            place = found.index(number)
            coded.append(other[place])
            found = found_orders[place].translate(found.ljust(256))
            other = other_orders[place].translate(other.ljust(256))
        self._found, self._other = found, other
        return bytes(coded)
