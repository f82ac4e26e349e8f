"""ROT47, a substitution of all that ASCII can print."""

from dataclasses import dataclass

from cipherecho.cipher import Vector

__all__ = ["Rot47"]

# From "!" to "~": what ASCII can print, without the space.
_PRINTABLE = bytes(range(0x21, 0x7F))


@dataclass(frozen=True)
class Rot47:
    """Moves each of the 94 visible ASCII characters 47 places; twice is the original.

    It carries the idea of ROT13, from the Usenet of the 1980s, over from the 26 letters to
    digits and punctuation, so that prices, dates and smileys are hidden too.  Spaces
    stay, and what it makes is plainly no text.  It has no key: who recognizes it has
    read it.
    """

    table = bytes.maketrans(_PRINTABLE, _PRINTABLE[47:] + _PRINTABLE[:47])

    vectors = (
        Vector(
            "The Quick Brown Fox Jumps Over The Lazy Dog.",
            '%96 "F:4< qC@H? u@I yF>AD ~G6C %96 {2KJ s@8]',
            source="Wikipedia, «ROT13», the example of ROT47 under «Variants»",
        ),
        Vector(
            "THIS IS A SECRET MESSAGE 123!",
            "%wx$ x$ p $tr#t% |t$$pvt `abP",
            source="dencode.com, «ROT47 cipher», the example",
        ),
        Vector(
            "!~\nGröße 7!",
            "PO\nvCöß6 fP",
            source="our own, character by character: the first and the last one, and "
            "foreign letters, which stay",
        ),
    )
