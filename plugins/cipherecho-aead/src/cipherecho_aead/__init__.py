"""Real encryption for cipherecho.

This module imports nothing, so that making a key loads no cipher.
"""

__version__ = "0.1.0"
