"""A cipher by its name, for programs: find it, read its specification, join it to others.

This is the public face of :mod:`cipherecho.ciphers`::

    cipher = Registry().load(parse("caesar:5"))
"""

from __future__ import annotations

from cipherecho.ciphers.composition import NoInverseError, chain, inverse
from cipherecho.ciphers.options import BadOptionError, SchemaError
from cipherecho.ciphers.registry import (
    AmbiguousCipherError,
    BrokenCipherError,
    Entry,
    IncompatibleCipherError,
    NotInvertibleError,
    Registry,
    UnknownCipherError,
)
from cipherecho.ciphers.shapes import NotACipherError
from cipherecho.ciphers.specification import (
    SelectionError,
    Specification,
    SpecificationError,
    parse,
)

__all__ = [
    "AmbiguousCipherError",
    "BadOptionError",
    "BrokenCipherError",
    "Entry",
    "IncompatibleCipherError",
    "NoInverseError",
    "NotACipherError",
    "NotInvertibleError",
    "Registry",
    "SchemaError",
    "SelectionError",
    "Specification",
    "SpecificationError",
    "UnknownCipherError",
    "chain",
    "inverse",
    "parse",
]
