"""The shape of a cipher, and the attributes that describe it.

This stands directly on the contract.
"""

from __future__ import annotations

import inspect
from typing import cast

from cipherecho.cipher import Cipher, Stateful, Stateless, Substitution, Transform
from cipherecho.errors import CipherechoError

__all__ = [
    "NotACipherError",
    "as_cipher",
    "codes_stretches",
    "is_slow",
    "is_stateful",
    "new_transform",
    "table_of",
    "type_name",
]


class NotACipherError(CipherechoError, TypeError):
    """The object is not a cipher: it has none of the contract's shapes."""


def as_cipher(candidate: object) -> Cipher:
    """Return `candidate` as a cipher, after checking that it is one.

    Raises:
      NotACipherError: it has none of the contract's shapes, or its table is invalid.
    """
    if isinstance(candidate, type):
        raise NotACipherError(
            f"got the class {candidate.__name__}, expected a cipher that was made with it"
        )
    if _has_table(candidate):
        _check_table(candidate, candidate.table)  # type: ignore[attr-defined]
    elif not _offers(candidate, "encrypt") and not _offers(candidate, "encryptor"):
        raise NotACipherError(
            f"got {type_name(candidate)}, expected a cipher: an object with a table of "
            "256 bytes, a method encrypt, or a method encryptor"
        )
    return cast(Cipher, candidate)


def _has_table(candidate: object) -> bool:
    # This doesn't run a property: an AttributeError in one would look as if there were no table.
    return inspect.getattr_static(candidate, "table", None) is not None


def _offers(candidate: object, method: str) -> bool:
    return callable(getattr(candidate, method, None))


def _check_table(owner: object, table: object) -> None:
    if not isinstance(table, bytes) or len(table) != 256:
        size = f" of {len(table)}" if isinstance(table, bytes) else ""
        raise NotACipherError(
            f"the table of {type_name(owner)} is {type_name(table)}{size}, "
            "expected bytes of length 256"
        )
    if len(set(table)) != 256:
        twice = next(byte for byte in range(256) if table.count(byte) > 1)
        raise NotACipherError(
            f"the table of {type_name(owner)} replaces {table.count(twice)} bytes by "
            f"0x{twice:02x}, expected a bijection"
        )
    if table[0x0A] != 0x0A or table[0x0D] != 0x0D:
        raise NotACipherError(
            f"the table of {type_name(owner)} replaces LF or CR, expected both to stay"
        )


def table_of(cipher: Cipher) -> bytes | None:
    """Return the 256-byte table of a substitution, None for every other shape."""
    return cast(Substitution, cipher).table if _has_table(cipher) else None


def is_stateful(cipher: Cipher) -> bool:
    """Return whether the cipher may remember earlier lines."""
    return table_of(cipher) is None and not _offers(cipher, "encrypt")


def codes_stretches(cipher: Cipher) -> bool:
    """Return whether the cipher accepts many lines with their endings in one call."""
    return table_of(cipher) is not None or getattr(cipher, "stretches", False) is True


def is_slow(cipher: Cipher) -> bool:
    """Return whether the cipher says that it is slow."""
    return getattr(cipher, "slow", False) is True


def new_transform(cipher: Cipher) -> Transform:
    """Return a transform that encrypts, in its initial state.

    Raises whatever the cipher's ``encryptor`` raises.
    """
    table = table_of(cipher)
    if table is not None:
        return lambda body: body.translate(table)
    if _offers(cipher, "encrypt"):
        return cast(Stateless, cipher).encrypt
    return cast(Stateful, cipher).encryptor()


def type_name(thing: object) -> str:
    """Return what to call an object in a message about its type."""
    return "None" if thing is None else f"an object of type {type(thing).__name__}"
