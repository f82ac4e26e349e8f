"""Ciphers made from other ciphers: chains and inverses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import Any, Self

from cipherecho.cipher import Cipher, InputError, Transform
from cipherecho.ciphers.coder import as_line, restored, snapshot
from cipherecho.ciphers.shapes import (
    as_cipher,
    codes_stretches,
    is_slow,
    is_stateful,
    new_transform,
    table_of,
)
from cipherecho.errors import CipherechoError

__all__ = ["NoInverseError", "chain", "inverse", "name_of"]


class NoInverseError(CipherechoError, ValueError):
    """The cipher can only encrypt."""


@dataclass(frozen=True)
class _Table:
    """A substitution that was computed: several fused into one, or an inverse."""

    table: bytes


def chain(ciphers: Iterable[Cipher]) -> Cipher:
    """Return the cipher that applies all of `ciphers` to each line, left to right.

    Neighbouring substitutions are fused, so a chain of tables is as fast as one table.

    Raises:
      ValueError: there are no ciphers.
      NotACipherError: one of them has none of the contract's shapes.

    >>> from cipherecho.rot13 import Rot13
    >>> chain([Rot13(), Rot13()]).table == bytes(range(256))
    True
    """
    flat = [
        stage
        for cipher in ciphers
        for stage in (cipher.stages if isinstance(cipher, _Chain) else [as_cipher(cipher)])
    ]
    if not flat:
        raise ValueError("got no ciphers, expected at least one")
    stages: list[Cipher] = []
    for are_tables, neighbours in groupby(flat, key=lambda stage: table_of(stage) is not None):
        if are_tables:
            stages.append(_Table(reduce(bytes.translate, filter(None, map(table_of, neighbours)))))
        else:
            stages += neighbours
    return stages[0] if len(stages) == 1 else _Chain(tuple(stages))


def inverse(cipher: Cipher) -> Cipher:
    """Return the cipher whose encryption is the decryption of `cipher`.

    Raises:
      NoInverseError: it, or a stage of it, can only encrypt.
      NotACipherError: it has none of the contract's shapes.

    >>> from cipherecho.cipher import letter_table
    >>> b"DEF".translate(inverse(_Table(letter_table("DEFGHIJKLMNOPQRSTUVWXYZABC"))).table)
    b'ABC'
    """
    as_cipher(cipher)
    if isinstance(cipher, _Chain):
        return chain(inverse(stage) for stage in reversed(cipher.stages))
    if isinstance(cipher, _StatelessInverse | _StatefulInverse):
        original: Cipher = cipher.original
        return original
    table = table_of(cipher)
    if table is not None:
        return _Table(bytes.maketrans(table, bytes(range(256))))
    stateful = is_stateful(cipher)
    if not callable(getattr(cipher, "decryptor" if stateful else "decrypt", None)):
        raise NoInverseError(f"{type(cipher).__name__} can only encrypt")
    return _StatefulInverse(cipher) if stateful else _StatelessInverse(cipher)


def name_of(cipher: Cipher) -> str:
    """Return the name of a cipher for the log: the types of its stages.

    >>> from cipherecho.rot13 import Rot13
    >>> name_of(Rot13())
    'Rot13'
    """
    if isinstance(cipher, _Chain):
        return ", ".join(map(name_of, cipher.stages))
    if isinstance(cipher, _StatelessInverse | _StatefulInverse):
        return f"-{name_of(cipher.original)}"
    return type(cipher).__name__


# decrypt and decryptor are optional, which a protocol can't express, so their types are unknown.


@dataclass(frozen=True)
class _StatelessInverse:
    original: Any

    @property
    def slow(self) -> bool:
        return is_slow(self.original)

    def encrypt(self, body: bytes) -> bytes:
        coded: bytes = self.original.decrypt(body)
        return coded


@dataclass(frozen=True)
class _StatefulInverse:
    original: Any

    @property
    def slow(self) -> bool:
        return is_slow(self.original)

    @property
    def stretches(self) -> bool:
        return codes_stretches(self.original)

    def encryptor(self) -> Transform:
        transform: Transform = self.original.decryptor()
        return transform


@dataclass(frozen=True)
class _Chain:
    stages: tuple[Cipher, ...]

    @property
    def slow(self) -> bool:
        return any(map(is_slow, self.stages))

    @property
    def stretches(self) -> bool:
        return all(map(codes_stretches, self.stages))

    def encryptor(self) -> Transform:
        return _ChainTransform(self.stages)


class _ChainTransform:
    """One transform for each stage; a rejected line changes the state of none."""

    def __init__(self, stages: Sequence[Cipher]) -> None:
        self._stages = stages
        self._transforms = [new_transform(stage) for stage in stages]
        # Only a stage that is not a substitution can reject a line. Then the stages before it have
        # to get their state back.
        last_to_reject = max(i for i, stage in enumerate(stages) if table_of(stage) is None)
        self._undoable = [i for i in range(last_to_reject) if is_stateful(stages[i])]

    def __call__(self, body: bytes) -> bytes:
        before = {i: snapshot(self._transforms[i]) for i in self._undoable}
        stage = 0
        try:
            for stage, transform in enumerate(self._transforms):  # noqa: B007
                body = as_line(body, transform(body))
        except InputError as rejection:
            for i in before:
                if i < stage:
                    self._transforms[i] = restored(before[i], rejection)
            raise
        return body

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        # The ciphers are shared, and their functions are no state; what can't be
        # copied must make the whole uncopyable.
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        copied._transforms = list(self._transforms)
        for i, stage in enumerate(self._stages):
            if is_stateful(stage):
                transform = snapshot(self._transforms[i])
                if transform is None:
                    raise TypeError(f"the state of {stage!r} can't be copied")
                copied._transforms[i] = transform
        return copied
