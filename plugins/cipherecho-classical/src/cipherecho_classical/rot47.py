"""ROT47, a substitution of all visible ASCII characters."""

from dataclasses import dataclass

from cipherecho.cipher import Vector

__all__ = ["Rot47"]

# From "!" to "~": the printable characters of ASCII, without the space.
_PRINTABLE = bytes(range(0x21, 0x7F))


@dataclass(frozen=True)
class Rot47:
    """Moves each of the 94 visible ASCII characters 47 places; twice is the original.

    It extends ROT13, from the Usenet of the 1980s, from the 26 letters to digits and
    punctuation, so that prices, dates and smileys are hidden too.  Spaces stay, and the result
    plainly isn't text.  It has no key: anybody who recognizes it can read it.
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
