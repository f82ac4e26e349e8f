"""Pen-and-paper ciphers for cipherecho, one module each.

This module imports nothing, so that asking for one cipher loads only that one.
"""

__version__ = "0.1.0"
