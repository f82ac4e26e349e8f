"""The root of all errors that are defined in the package."""

from __future__ import annotations

__all__ = ["CipherechoError"]


class CipherechoError(Exception):
    """Something is wrong with what was given; the message says it in a line.

    What is raised is always of a narrower class, and most of those are Python's as well: a
    ``ListenError`` is an ``OSError``, an ``EndpointError`` is a ``ValueError``.
    """
