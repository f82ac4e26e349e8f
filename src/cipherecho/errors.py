"""The base class of all errors that this package defines."""

from __future__ import annotations

__all__ = ["CipherechoError"]


class CipherechoError(Exception):
    """Base class: something is wrong with what was given; the message says what, in one line.

    Only subclasses are raised.  Most also have a standard base class: a ``ListenError`` is an
    ``OSError``, and an ``EndpointError`` is a ``ValueError``.
    """
