"""Cipher machines, and a deck of cards, for cipherecho, one module each.

Nothing is imported here, so that asking for one cipher loads that one alone.
"""

__version__ = "0.1.0"
