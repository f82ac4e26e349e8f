"""Splitting text into lines, and joining them again."""

from __future__ import annotations

from io import BytesIO
from math import inf

__all__ = ["LINE_WEIGHT", "end_within", "ending_of", "endings_of", "interleaved", "lines_of"]

LINE_WEIGHT = 64
"""The cost of a line in addition to its bytes, in bytes.  Calling an empty Python function takes
as long as coding some dozens of bytes by a table or by regular expressions."""

# Every byte but LF and CR.
_NO_ENDING = bytes(byte for byte in range(256) if byte not in b"\r\n")


def lines_of(text: bytes) -> tuple[list[bytes], bytes | None]:
    r"""Return a list of whole lines, and all their endings; None for these if a body has a CR.

    >>> lines_of(b"a\r\nb\n"), lines_of(b"a\r\nb\rc\n")
    (([b'a\r\n', b'b\n'], b'\r\n\n'), ([b'a\r\n', b'b\rc\n'], None))
    """
    # Lines of a binary file end in LF alone, and memchr finds them. splitlines looks at each byte,
    # and splits at every CR too.
    if b"\r" not in text:
        lines = BytesIO(text).readlines()
        return lines, b"\n" * len(lines)
    lines = text.splitlines(keepends=True)
    endings = endings_of(text)
    if len(lines) == endings.count(b"\n"):
        return lines, endings
    return BytesIO(text).readlines(), None


def endings_of(text: bytes) -> bytes:
    r"""Return every CR and LF of `text`.

    >>> endings_of(b"a\r\nb\n")
    b'\r\n\n'
    """
    return text.translate(None, _NO_ENDING)


def end_within(text: bytes, most: float, longest: float = inf) -> int:
    """Return the end of the last line of `text` within weight and length; of the first at least."""
    end = int(min(len(text), most, longest))
    if end < len(text):
        end = text.rfind(b"\n", 0, end) + 1
    while end:
        weight = end + (LINE_WEIGHT - 1) * text.count(b"\n", 0, end)
        if weight <= most:
            return end
        end = text.rfind(b"\n", 0, int(end * most / weight)) + 1
    return text.find(b"\n") + 1


def interleaved(lines: list[bytes], coded_lines: list[bytes]) -> bytes:
    r"""Return each line followed by its ciphertext.

    >>> interleaved([b"a\n", b"b\n"], [b"n\n", b"o\n"])
    b'a\nn\nb\no\n'
    """
    reply = lines * 2  # of the right length, for two slice assignments
    reply[0::2] = lines
    reply[1::2] = coded_lines
    return b"".join(reply)


def ending_of(line: bytes) -> bytes:
    """Return the ending of a line that has one."""
    return b"\r\n" if line.endswith(b"\r\n") else b"\n"
