"""Whom a certificate is for, and when it expires, as far as that can be read.

Python's ssl module tells neither of a server's own certificate.  Of a client's it decodes the
whole or raises, as libraries do, and what is in one is the business of those who sign it: Latin-1
where ASCII should be, or a list where a text is expected.  OpenSSL has verified what is read here;
only what the log and the metrics need is looked at.
"""

from __future__ import annotations

from calendar import timegm
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["expiry", "holder"]

# Tags of DER (X.690, 8.1.2; X.680, 8.6).
_UTC_TIME = 0x17
_BMP_STRING = 0x1E
_VERSION = 0xA0
_EXTENSIONS = 0xA3

# Contents of object identifiers: commonName (X.520), subjectAltName (RFC 5280, 4.2.1.6).
_COMMON_NAME = bytes.fromhex("550403")
_ALTERNATIVE_NAME = bytes.fromhex("551d11")

# Which GeneralNames are texts (RFC 5280, 4.2.1.6), named as Python's ssl module does.
_KINDS = {0x81: "email", 0x82: "DNS", 0x86: "URI"}


def holder(der: bytes) -> str:
    """Return whom a certificate is for, such as ``CN=alice``; nothing if it can't be read.

    That is the last common name of its subject or, if it has none, the first alternative name
    that is a text, such as ``email=alice@example.org``.  It may have any characters and any
    length; bytes that are not UTF-8 are read as Latin-1.
    """
    try:
        return _holder(der)
    except (IndexError, RuntimeError, StopIteration, ValueError):
        return ""


def expiry(der: bytes) -> int | None:
    """Return when a certificate expires, in seconds since 1970.

    None if the date is not where, or not what RFC 5280, 4.1 says: OpenSSL takes more than
    that, and what it serves is served.
    """
    try:
        _, not_after = _parts(der, _fields(der)[3])
        return _seconds(not_after.tag, der[not_after.begin : not_after.end].decode("ascii"))
    # Nothing that is odd in a certificate is worth more than a date that is missing.
    except Exception:
        return None


class _Element(NamedTuple):
    """An element of DER: its tag, and where its content is."""

    tag: int
    begin: int
    end: int


def _fields(der: bytes) -> list[_Element]:
    """Return what is in a certificate: serialNumber, signature, issuer, validity, subject, ...

    All but the version have to be there (RFC 5280, 4.1), which is left out.
    """
    [certificate] = _parts(der, _Element(0, 0, len(der)))
    to_be_signed = _parts(der, next(_parts(der, certificate)))
    return [field for field in to_be_signed if field.tag != _VERSION]


def _holder(der: bytes) -> str:
    fields = _fields(der)
    if names := list(_common_names(der, fields[4])):
        return f"CN={names[-1]}"
    for field in fields[6:]:
        if field.tag == _EXTENSIONS:
            return next(_alternative_names(der, field), "")
    return ""


def _common_names(der: bytes, subject: _Element) -> Iterator[str]:
    for names in _parts(der, subject):
        for name in _parts(der, names):
            kind, value = _parts(der, name)
            if der[kind.begin : kind.end] == _COMMON_NAME:
                yield _text(der, value)


def _alternative_names(der: bytes, field: _Element) -> Iterator[str]:
    for extension in _parts(der, next(_parts(der, field))):
        kind, *_, value = _parts(der, extension)
        if der[kind.begin : kind.end] == _ALTERNATIVE_NAME:
            for name in _parts(der, next(_parts(der, value))):
                if name.tag in _KINDS:
                    yield f"{_KINDS[name.tag]}={_text(der, name)}"


def _text(der: bytes, element: _Element) -> str:
    content = der[element.begin : element.end]
    if element.tag == _BMP_STRING:
        return content.decode("utf-16-be", "replace")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _parts(der: bytes, whole: _Element) -> Iterator[_Element]:
    """Yield what is in an element, or what follows each other in a part of `der`."""
    begin = whole.begin
    while begin < whole.end:
        tag, length = der[begin : begin + 2]
        begin += 2
        if length >= 0x80:  # it is the number of the bytes that have the length
            size = length - 0x80
            length = int.from_bytes(der[begin : begin + size], "big")
            begin += size
        yield _Element(tag, begin, begin + length)
        begin += length


def _seconds(tag: int, date: str) -> int:
    if not date.endswith("Z"):
        raise ValueError(f"got the date {date!r}, expected one in UTC")
    if tag == _UTC_TIME:  # of two digits for the year (RFC 5280, 4.1.2.5.1)
        date = ("19" if date >= "50" else "20") + date
    year, rest = int(date[:4]), date[4:]
    month, day, hour, minute, second = (int(rest[at : at + 2]) for at in range(0, 10, 2))
    return timegm((year, month, day, hour, minute, second))
