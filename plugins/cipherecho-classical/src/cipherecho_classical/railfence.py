r"""The rail fence cipher, a transposition of the characters of a line.

>>> RailFence(3).encrypt("Größe, 7!".encode()).decode()
'Ge!rß,7ö '
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from cipherecho.cipher import Range, Vector, text_of

__all__ = ["RailFence"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class RailFence:
    """Writes a line in a zigzag across the rails of a fence, and reads it off rail by rail.

    The first character goes on the top rail, the next on the one below, and so on down and up
    again.  Nobody knows who invented it; it is the transposition that primers begin with.
    The characters move without changing, so the letters of the ciphertext are as frequent as
    those of the language, which gives away a transposition.  Then there are fewer fences to try
    than the line has characters.  It moves characters of all kinds, spaces too, each line by
    itself; a line with no more characters than there are rails stays as it is.
    """

    # One rail makes no fence.  A line has no more characters than the upper bound, unless the
    # server has another limit, and then only fences that move hardly anything are missing.
    rails: Annotated[int, Range(2, 65_536), "rails of the fence, the top one included"]

    vectors = (
        Vector(
            "WEAREDISCOVEREDRUNATONCE",
            "WECRUOERDSOEERNTNEAIVDAC",
            source="Wikipedia, «Rail fence cipher», the example of the zigzag",
            options="3",
        ),
        Vector(
            "WEAREDISCOVEREDFLEEATONCE",
            "WECRLTEERDSOEEFEAOCAIVDEN",
            source="Wikipedia, «Transposition cipher», the example under «Rail Fence cipher»",
            options="rails=3",
        ),
        Vector(
            "THIS_IS_A_SECRET_MESSAGE",
            "TSCEHI_ERMSEI_ASE_SGS_TA",
            source="DenCode, https://dencode.com/en/cipher/rail-fence, the example of 4 rails",
            options="4",
        ),
        Vector(
            "Größe, 7!\n\nabc\nab",
            "Göe !rß,7\n\nacb\nab",
            source="our own, by hand: other characters move as letters do, each line by itself",
            options="2",
        ),
    )

    def encrypt(self, body: bytes) -> bytes:
        """Return the characters of `body`, rail by rail; InputError if it isn't UTF-8."""
        return "".join(self._by_rails(text_of(body))).encode()

    def decrypt(self, body: bytes) -> bytes:
        """Return `body` with each character back in its place; InputError if it isn't UTF-8."""
        text = text_of(body)
        plain = [""] * len(text)
        for place, character in zip(self._by_rails(range(len(text))), text, strict=True):
            plain[place] = character
        return "".join(plain).encode()

    def _by_rails(self, items: Sequence[Item]) -> list[Item]:
        """Return `items`, given in the order of the zigzag, rail by rail."""
        turn = 2 * (self.rails - 1)  # from the top rail to the top rail
        order = list(items[::turn])
        for rail in range(1, min(self.rails - 1, len(items))):
            down, up = items[rail::turn], items[turn - rail :: turn]
            between: list[Item] = [*down, *up]  # for its length; both halves are overwritten
            between[::2], between[1::2] = down, up
            order += between
        order += items[self.rails - 1 :: turn]
        return order
