"""ROT13, the default cipher: a plugin like any other, shipped with cipherecho."""

from cipherecho.cipher import Vector, letter_table


class Rot13:
    """Moves every letter 13 places along the alphabet of 26; twice is the original.

    Used on Usenet since the early 1980s to hide the punchlines of jokes from a casual glance.  It
    has no key, so it keeps nothing secret.
    """

    table = letter_table("NOPQRSTUVWXYZABCDEFGHIJKLM")

    vectors = (
        Vector(
            "Why did the chicken cross the road?\nTo get to the other side!",
            "Jul qvq gur puvpxra pebff gur ebnq?\nGb trg gb gur bgure fvqr!",
            source="Wikipedia, «ROT13», the joke under «Description», read in 2024",
        ),
        Vector("Größe 7!", "Teößr 7!", source="the wire contract, rule 3 of lines"),
    )
