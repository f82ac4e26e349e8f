"""Real encryption for cipherecho.

Nothing is imported here, so that making a key loads no cipher.
"""

__version__ = "0.1.0"
