"""Whom a certificate is for, as far as it can be read.

Python decodes the whole of a certificate or raises, and what is in one is the business of those
who sign it: Latin-1 where ASCII should be, or a list where a text is expected.  OpenSSL has
verified what is read here; only what a name in the log needs is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["holder"]

# Tags of DER (X.690, 8.1.2; X.680, 8.6).
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


class _Element(NamedTuple):
    """An element of DER: its tag, and where its content is."""

    tag: int
    begin: int
    end: int


def _holder(der: bytes) -> str:
    [certificate] = _parts(der, _Element(0, 0, len(der)))
    # version, serialNumber, signature, issuer, validity, subject, and more (RFC 5280, 4.1).
    to_be_signed = _parts(der, next(_parts(der, certificate)))
    fields = [field for field in to_be_signed if field.tag != _VERSION]
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
