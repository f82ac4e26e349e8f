"""Requests to the compiler and its answers: parts, each preceded by its length."""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
from typing import IO, Self

from cipherecho_wasm.machine import Target

__all__ = ["Outcome", "Request", "receive", "send"]

_LENGTH = struct.Struct("!Q")


class Outcome:
    """The first part of an answer."""

    CODE = b"code"
    """The code follows, and why it can't be kept, or ""."""
    REFUSED = b"refused"
    """Wasmtime's complaint about the module follows."""
    OUT_OF_TIME = b"out of time"
    OUT_OF_MEMORY = b"out of memory"
    FAILED = b"failed"
    """How the process ended follows."""


@dataclass(frozen=True)
class Request:
    """A module to compile, and the bounds on compiling it."""

    afresh: bool
    """Whether to ignore the cache."""
    target: Target
    seconds: int
    """Of processor time."""
    memory: int
    """In bytes: of address space."""
    module: bytes
    """In binary or as text, without the adapter."""

    def parts(self) -> list[bytes]:
        """Return the message."""
        words = (int(self.afresh), self.target.value, self.seconds, self.memory)
        return [*(str(word).encode() for word in words), self.module]

    @classmethod
    def of(cls, parts: Collection[bytes]) -> Self:
        """Return the request in a message."""
        *words, module = parts
        afresh, target, seconds, memory = (word.decode() for word in words)
        return cls(bool(int(afresh)), Target(target), int(seconds), int(memory), module)


def send(to: IO[bytes], *parts: bytes) -> None:
    """Write a message with these parts.

    Raises:
      OSError: the reader is gone.
    """
    for part in (b"%d" % len(parts), *parts):
        to.write(_LENGTH.pack(len(part)))
        to.write(part)
    to.flush()


def receive(source: IO[bytes]) -> list[bytes]:
    """Return the parts of the next message; none at the end, or if it is incomplete."""
    try:
        return [_part(source) for _ in range(int(_part(source)))]
    except EOFError:
        return []


def _part(source: IO[bytes]) -> bytes:
    (size,) = _LENGTH.unpack(_exactly(source, _LENGTH.size))
    return _exactly(source, size)


def _exactly(source: IO[bytes], size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise EOFError
    return data
