"""Splitting text into lines, and joining them again."""

from __future__ import annotations

from io import BytesIO
from itertools import islice

__all__ = [
    "LINE_WEIGHT",
    "end_alike",
    "end_of_allowed",
    "end_within",
    "ending_of",
    "has_cr_in_body",
    "interleaved",
    "is_overlong",
    "lines_of",
]

LINE_WEIGHT = 64
"""The cost of a line in addition to its bytes, in bytes.  Calling an empty Python function takes
as long as coding some dozens of bytes by a table or by regular expressions."""

# Every byte but LF and CR.
_NO_ENDING = bytes(byte for byte in range(256) if byte not in b"\r\n")


def lines_of(text: bytes | bytearray) -> list[bytes]:
    r"""Return lines one by one, with their endings.

    >>> lines_of(b"a\r\nb\rc\n")
    [b'a\r\n', b'b\rc\n']
    """
    # Lines of some length are found by memchr; split and count look at one byte after the other.
    return BytesIO(text).readlines()


def has_cr_in_body(text: bytes) -> bool:
    r"""Return whether a line has a CR that is no part of its ending.

    >>> has_cr_in_body(b"a\r\nb\n"), has_cr_in_body(b"a\r\nb\rc\n")
    (False, True)
    """
    return b"\r" in text and text.count(b"\r") != text.count(b"\r\n")


def end_alike(text: bytes, coded: bytes, lines: int) -> bool:
    r"""Return whether each line of `coded` ends as that of `text` does, and has no other CR.

    Both have this many lines, and no body of `text` has a CR.

    >>> end_alike(b"a\r\nb\n", b"1\r\n2\n", 2), end_alike(b"a\r\nb\n", b"1\n2\r\n", 2)
    (True, False)
    """
    if b"\r" not in text:
        return coded.endswith(b"\n") and b"\r" not in coded
    crs = text.count(b"\r")
    if not coded.endswith(b"\n") or not coded.count(b"\r") == coded.count(b"\r\n") == crs:
        return False
    # If not all are CRLF, they have to be at the same lines.
    return crs == lines or coded.translate(None, _NO_ENDING) == text.translate(None, _NO_ENDING)


def end_within(text: bytes, most: float, most_bytes: float, most_lines: float) -> int:
    """Return the end of the last line within a weight and these bounds; of the first at least."""
    end = int(min(len(text), most, most_bytes))
    if end < len(text):
        end = text.rfind(b"\n", 0, end) + 1
    while end:
        lines = text.count(b"\n", 0, end)
        weight = end + (LINE_WEIGHT - 1) * lines
        if weight <= most:
            return end if lines <= most_lines else _end_of(text, int(most_lines))
        end = text.rfind(b"\n", 0, int(end * most / weight)) + 1
    return text.find(b"\n") + 1


def _end_of(text: bytes, number: int) -> int:
    return sum(map(len, islice(BytesIO(text), number)))


def is_overlong(line: bytes | bytearray, longest: float) -> bool:
    r"""Return whether the body of a line, given without its LF, is too long.

    A CR at the end may be half of the ending, so it does not count.

    >>> is_overlong(b"abc\r", 3), is_overlong(b"abc\r", 2)
    (False, True)
    """
    return len(line) > longest and len(line) - line.endswith(b"\r") > longest


def end_of_allowed(text: bytes, longest: float) -> int:
    r"""Return where the first line begins that is too long; the end of the text if none is.

    >>> end_of_allowed(b"abc\n\nabcd\nabc\n", 3)
    5
    """
    # From one LF to the last that is near enough: a few steps, whatever the lines.
    begin = 0
    while len(text) - 1 - begin > longest:
        end = text.rfind(b"\n", begin, begin + int(longest) + 1) + 1
        if not end:
            end = text.find(b"\n", begin) + 1
            if is_overlong(text[begin : end - 1], longest):
                return begin
        begin = end
    return len(text)


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
