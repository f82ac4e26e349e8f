"""When a certificate expires, which Python's ssl module says of the other side's alone."""

from __future__ import annotations

from calendar import timegm
from collections.abc import Iterator

__all__ = ["expiry"]

# The tags of DER that matter here (X.680, 8.6 and X.690).
_VERSION = 0xA0
_UTC_TIME = 0x17


def expiry(certificate: bytes) -> int | None:
    """Return when a certificate in DER expires, in seconds since 1970.

    None if the date is not where, or not what RFC 5280, 4.1 says: OpenSSL takes more than
    that, and what it serves is served.
    """
    try:
        return _expiry(certificate)
    # Nothing that is odd in a certificate is worth more than a date that is missing.
    except Exception:
        return None


def _expiry(der: bytes) -> int:
    _, certificate = next(_elements(der))
    _, to_be_signed = next(_elements(certificate))
    # All but the version must be there: serial number, signature, issuer, validity.
    mandatory = [content for tag, content in _elements(to_be_signed) if tag != _VERSION]
    _, (tag, not_after) = _elements(mandatory[3])
    return _seconds(tag, not_after.decode("ascii"))


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of the elements that follow each other in `der`."""
    while der:
        tag, length, begin = der[0], der[1], 2
        if length >= 0x80:  # it is the number of the bytes that have the length
            begin += length - 0x80
            length = int.from_bytes(der[2:begin], "big")
        yield tag, der[begin : begin + length]
        der = der[begin + length :]


def _seconds(tag: int, date: str) -> int:
    if not date.endswith("Z"):
        raise ValueError(f"got the date {date!r}, expected one in UTC")
    if tag == _UTC_TIME:  # of two digits for the year (RFC 5280, 4.1.2.5.1)
        date = ("19" if date >= "50" else "20") + date
    year, rest = int(date[:4]), date[4:]
    month, day, hour, minute, second = (int(rest[at : at + 2]) for at in range(0, 10, 2))
    return timegm((year, month, day, hour, minute, second))
