"""When a certificate expires, which Python's ssl module says of the other side's alone."""

from __future__ import annotations

import binascii
import re
from calendar import timegm
from collections.abc import Iterator

__all__ = ["expiry"]

# As OpenSSL names it: today's label and two old ones (PEM_read_bio_X509_AUX(3)).
_PEM = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.*?)-----END ", flags=re.DOTALL)

# The tags of DER that matter here (X.680, 8.6 and X.690).
_VERSION = 0xA0
_UTC_TIME = 0x17


def expiry(pem: bytes) -> int:
    """Return when the first certificate of a PEM file expires, in seconds since 1970.

    The file is one that OpenSSL has loaded; the date is where RFC 5280, 4.1 has it.

    Raises:
      ValueError: there is no certificate in it.
    """
    found = _PEM.search(pem)
    if found is None:
        raise ValueError("got no certificate in PEM, expected one")
    _, certificate = next(_elements(binascii.a2b_base64(found[1])))
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
    if tag == _UTC_TIME:  # of two digits for the year (RFC 5280, 4.1.2.5.1)
        date = ("19" if date >= "50" else "20") + date
    year, rest = int(date[:4]), date[4:]
    month, day, hour, minute, second = (int(rest[at : at + 2]) for at in range(0, 10, 2))
    return timegm((year, month, day, hour, minute, second))
