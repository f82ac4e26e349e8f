r"""Solitaire, a cipher played with a deck of cards.

>>> encrypt = Solitaire("foo").encryptor()
>>> encrypt(b"AAAAA"), encrypt(b"aa, aaa!")
(b'ITHZU', b'ji, wgr!')
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from cipherecho.cipher import OptionError, Transform, Vector
from cipherecho_machines.letters import code_letters, numbers_of

__all__ = ["Solitaire"]

_SOURCE = "Bruce Schneier's test vectors, https://www.schneier.com/code/sol-test.txt"


@dataclass(frozen=True)
class Solitaire:
    """Moves each letter as far as a card says, drawn from a deck with two jokers.

    Bruce Schneier designed it for Neal Stephenson's novel Cryptonomicon of 1999, where it
    is called Pontifex: a deck of cards doesn't give an agent away.  For each letter both
    jokers move, the deck is cut at both of them and cut again by its last card, and the
    first card says where the card that counts is.  The passphrase arranges the deck
    beforehand, each letter with one more cut.  Paul Crowley found in 1999 that the same
    number comes twice in a row once in 22.5 times instead of 26, so the text leaks; and two
    messages with the same passphrase give each other away.  Only letters use up cards, and the
    deck keeps its order from line to line.
    """

    key: Annotated[
        str,
        "a passphrase of letters A-Z, small ones too, and spaces, which are ignored; "
        "'' is the deck in its first order",
    ]

    vectors = (
        Vector("AAAAAAAAAAAAAAA", "EXKYIZSGEHUNTIQ", source=_SOURCE, options='""'),
        Vector("AAAAAAAAAAAAAAA", "ITHZUJIWGRFARMW", source=_SOURCE, options="foo"),
        Vector("AAAAAAAAAAAAAAA", "DCSQYHBQZNGDRUT", source=_SOURCE, options="aaa"),
        Vector("AAAAAAAAAAAAAAA", "FMUBYBMAXHNQXCJ", source=_SOURCE, options="bcd"),
        Vector(
            "AAAAAAAAAAAAAAAAAAAAAAAAA",
            "SUGSRSXSWQRMXOHIPBFPXARYQ",
            source=_SOURCE,
            options="key=cryptonomicon",
        ),
        Vector(
            "SOLITAIREX",
            "KIRAKSFJAN",
            source=f"{_SOURCE}; with the X that fills the last group",
            options="key=cryptonomicon",
        ),
        Vector(
            "Solit,\n\nÄ aire 7!\nX",
            "Kirak,\n\nÄ sfja 7!\nN",
            source="our own: the example before, continuing across other characters and from "
            "line to line",
            options='key="Crypto Nomicon"',
        ),
    )

    def __post_init__(self) -> None:
        letters = self.key.replace(" ", "")
        if self.key and not (letters.isascii() and letters.isalpha()):
            raise OptionError(
                "key",
                self.key,
                "a passphrase of letters A-Z and spaces, or '' for the deck in its first order",
            )

    def encryptor(self) -> Transform:
        """Return a transform that starts with the deck that the passphrase arranges."""
        return _Player(self._deck, 1)

    def decryptor(self) -> Transform:
        """Return a transform that undoes what :meth:`encryptor` makes."""
        return _Player(self._deck, -1)

    @cached_property
    def _deck(self) -> bytes:
        deck = _IN_ORDER
        for number in numbers_of(self.key.replace(" ", "")):
            deck = _cut(_shuffled(deck), number + 1)
        return deck


# The cards are numbers in the order of bridge, from 1, the ace of clubs, to 52, the king of
# spades.  Where a number is needed, both jokers count as 53.
_JOKER_A, _JOKER_B = 53, 54
_IN_ORDER = bytes(range(1, 55))


class _Player:
    """Plays with the deck of one connection; the state is its order.

    `sign` is 1 to add cards to letters, and -1 to subtract them.
    """

    __slots__ = ("_deck", "_sign")

    def __init__(self, deck: bytes, sign: int) -> None:
        self._deck = deck
        self._sign = sign

    def __deepcopy__(self, memo: dict[int, object]) -> _Player:
        return _Player(self._deck, self._sign)

    def __call__(self, body: bytes) -> bytes:
        return code_letters(body, self._code)

    def _code(self, numbers: bytes) -> bytes:
        sign = self._sign
        cards = self._draw(len(numbers))
        return bytes(
            [(number + sign * card) % 26 for number, card in zip(numbers, cards, strict=True)]
        )

    def _draw(self, count: int) -> bytes:
        """Return the next `count` cards, without jokers."""
        deck = self._deck
        cards = bytearray()
        while len(cards) < count:
            deck = _shuffled(deck)
            first = deck[0]
            card = deck[first if first < _JOKER_B else _JOKER_A]
            if card < _JOKER_A:
                cards.append(card)
        self._deck = deck
        return bytes(cards)


def _shuffled(deck: bytes) -> bytes:
    """Return the deck after the four moves that come before each card.

    A joker that moves past the last card continues after the first one, never before it.
    """
    cards = bytearray(deck)
    place = cards.index(_JOKER_A)
    del cards[place]
    cards.insert(place % 53 + 1, _JOKER_A)
    place = cards.index(_JOKER_B)
    del cards[place]
    cards.insert((place + 1) % 53 + 1, _JOKER_B)

    upper, lower = cards.index(_JOKER_A), cards.index(_JOKER_B)
    if upper > lower:
        upper, lower = lower, upper
    cut = bytes(cards[lower + 1 :] + cards[upper : lower + 1] + cards[:upper])
    return _cut(cut, cut[-1])


def _cut(deck: bytes, count: int) -> bytes:
    """Return the deck with the first `count` cards moved in front of the last one.

    A joker's 53 or 54 stands for all cards but the last, so nothing changes.
    """
    return deck if count >= _JOKER_A else deck[count:-1] + deck[:count] + deck[-1:]
