"""The ciphers of the packages beside this one, for people who have not installed them.

Only error messages read this: which ciphers there are, installed metadata says.
"""

from __future__ import annotations

__all__ = ["install_line", "package_of"]

_CIPHERS = {
    "cipherecho-aead": "aead",
    "cipherecho-classical": "adfgvx affine atbash autokey beaufort bifid caesar columnar keyword "
    "playfair porta railfence rot47 vigenere",
    "cipherecho-machines": "chaocipher enigma solitaire",
    "cipherecho-wasm": "wasm",
}

package_of = {name: package for package, names in _CIPHERS.items() for name in names.split()}
"""The package of each cipher, by the cipher's name."""


def install_line(package: str) -> str:
    """Return what to type in a checkout to install one of the packages.

    >>> install_line(package_of["caesar"])
    'pip install ./plugins/cipherecho-classical'
    """
    return f"pip install ./plugins/{package}"
