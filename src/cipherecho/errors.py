"""The root of all errors that the package raises for its callers."""

from __future__ import annotations

__all__ = ["CipherechoError"]


class CipherechoError(Exception):
    """What is wrong is said in one line, for the person who gave it.

    The classes that are raised say more, and most of them are errors of Python's too: a
    ``ListenError`` is an ``OSError``, an ``EndpointError`` is a ``ValueError``.
    """
