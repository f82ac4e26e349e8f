"""Ciphers for the tests: well-behaved ones of every shape, then ones that break the contract."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import count
from typing import Any

from cipherecho.cipher import InputError, Transform, letter_table

CAESAR = letter_table("DEFGHIJKLMNOPQRSTUVWXYZABC")


# Well-behaved ciphers.


class Caesar:
    """A substitution: every letter three places on."""

    table = CAESAR


class StatelessCaesar:
    """The same cipher in another shape."""

    def encrypt(self, body: bytes) -> bytes:
        return body.translate(CAESAR)


class Reverse:
    """A transposition, so it can bring a CR to the end of a line."""

    def encrypt(self, body: bytes) -> bytes:
        return body[::-1]

    decrypt = encrypt


class Doubled:
    """Every byte but CR twice; longer than what it codes, and without an inverse."""

    def encrypt(self, body: bytes) -> bytes:
        return b"".join(bytes([byte]) * (1 if byte == 0x0D else 2) for byte in body)


@dataclass(frozen=True)
class Padded:
    """Every line made longer by `size` dots."""

    size: int

    def encrypt(self, body: bytes) -> bytes:
        return body + b"." * self.size


class Picky:
    """Every line as it is, but one that holds an `x` is rejected."""

    def encrypt(self, body: bytes) -> bytes:
        if b"x" in body:
            raise InputError(f"got {body!r}, expected a line without x")
        return body

    decrypt = encrypt


class PickyInStretches(Picky):
    """The same, which may be given many lines at once, and rejects them all for one."""

    stretches = True


class Numbered:
    """The line's number, from 1, and a space before each line: state that is easy to see.

    The decryptor rejects a line that does not begin with the number that is due.
    """

    def encryptor(self) -> Transform:
        return _Numbering()

    def decryptor(self) -> Transform:
        return _Unnumbering()


class _Numbering:
    def __init__(self) -> None:
        self.number = 0

    def __call__(self, body: bytes) -> bytes:
        self.number += 1
        return b"%d %s" % (self.number, body)


class _Unnumbering:
    def __init__(self) -> None:
        self.number = 0

    def __call__(self, body: bytes) -> bytes:
        due = b"%d " % (self.number + 1)
        if not body.startswith(due):
            raise InputError(f"got {body!r}, expected it to begin with {due!r}")
        self.number += 1
        return body.removeprefix(due)


class NumberedReverse:
    """A stateful transposition: the line's number, a space, and the line backwards."""

    def encryptor(self) -> Transform:
        return _ReverseAfter(_Numbering())


@dataclass
class _ReverseAfter:
    numbering: _Numbering

    def __call__(self, body: bytes) -> bytes:
        return self.numbering(body[::-1])


class Progressive:
    """Every letter moved on by the number of letters before it, in this line and all earlier ones.

    The transform is a method of an object, not an object of its own.
    """

    def encryptor(self) -> Transform:
        return _Progression(+1).code

    def decryptor(self) -> Transform:
        return _Progression(-1).code


class ProgressiveInStretches(Progressive):
    """The same, which may be given many lines at once: no line ending is a letter."""

    stretches = True


class _Progression:
    def __init__(self, direction: int) -> None:
        self.direction = direction
        self.letters = 0

    def code(self, body: bytes) -> bytes:
        coded = bytearray(body)
        for place, byte in enumerate(body):
            if byte in b"abcdefghijklmnopqrstuvwxyz":
                coded[place] = (byte - 97 + self.direction * self.letters) % 26 + 97
                self.letters += 1
        return bytes(coded)


# Transforms that take blocks.


@dataclass
class NumberedPicky:
    """Numbered, and a line that holds an `x` is rejected; the state is that of the others."""

    def encryptor(self) -> Transform:
        return _PickyNumbering()

    def decryptor(self) -> Transform:
        return _Unnumbering()


class _PickyNumbering(_Numbering):
    def __call__(self, body: bytes) -> bytes:
        return super().__call__(Picky().encrypt(body))


@dataclass
class NumberedInBlocks:
    """The same, in blocks; whatever was given as one is in `blocks`."""

    blocks: list[bytes] = field(default_factory=list)

    def encryptor(self) -> Transform:
        return InBlocks(_PickyNumbering(), self.blocks)

    def decryptor(self) -> Transform:
        return InBlocks(_Unnumbering(), self.blocks)


@dataclass
class InBlocks:
    """A transform that takes blocks, made of one that takes lines."""

    transform: Transform
    blocks: list[bytes] = field(default_factory=list)

    def __call__(self, body: bytes) -> bytes:
        return self.transform(body)

    def block(self, text: bytes) -> tuple[bytes, dict[int, InputError | str]]:
        self.blocks.append(text)
        coded: list[bytes] = []
        rejected: dict[int, InputError | str] = {}
        for number, line in enumerate(BytesIO(text)):
            ending = b"\r\n" if line.endswith(b"\r\n") else b"\n"
            try:
                code = self.transform(line.removesuffix(ending))
            except InputError as rejection:
                code, rejected[number] = b"", rejection if number % 2 else str(rejection)
            coded.append(code + ending)
        return b"".join(coded), rejected


@dataclass(frozen=True)
class FaultyInBlocks:
    """Every line as it is, and what `fault` makes of every block that holds a `!`."""

    fault: Callable[[bytes], Any]

    def encryptor(self) -> Transform:
        return _FaultyBlocks(self.fault)


@dataclass(frozen=True)
class _FaultyBlocks:
    fault: Callable[[bytes], Any]

    def __call__(self, body: bytes) -> bytes:
        return self.block(body)[0]

    def block(self, text: bytes) -> tuple[bytes, dict[int, InputError | str]]:
        return self.fault(text) if b"!" in text else (text, {})


# State that can't be copied: legal, as long as no later line has to be taken back.


class NumberedInClosure:
    """Numbers the lines, and keeps the number where it can't be copied."""

    def encryptor(self) -> Transform:
        number = 0

        def transform(body: bytes) -> bytes:
            nonlocal number
            number += 1
            return b"%d %s" % (number, body)

        return transform


class NumberedByGenerator:
    """Numbers the lines, and keeps the number in a generator."""

    def encryptor(self) -> Transform:
        return _Drawing(number for number in count(1))


@dataclass
class _Drawing:
    numbers: Iterator[int]

    def __call__(self, body: bytes) -> bytes:
        return b"%d %s" % (next(self.numbers), body)


# Ciphers that break the contract.


class Panic(BaseException):
    """What a plugin written in Rust raises when it panics is no `Exception` either."""


@dataclass(frozen=True)
class Faulty:
    """Every line as it is, but for one that holds a `!` what `fault` makes of it."""

    fault: Callable[[bytes], Any]

    def encrypt(self, body: bytes) -> bytes:
        result: bytes = self.fault(body) if b"!" in body else body
        return result


def _raise(error: type[BaseException], *args: object) -> Callable[[bytes], Any]:
    def fault(_: bytes) -> Any:
        raise error(*args)

    return fault


HUGE = 200_000_000  # far more than any line limit allows

RAISING: dict[str, Faulty] = {
    "an error of the standard library": Faulty(_raise(KeyError, "alphabet")),
    "an error of decoding": Faulty(lambda body: (body + b"\xff").decode()),
    "a lack of memory": Faulty(_raise(MemoryError)),
    "an exit": Faulty(_raise(SystemExit, "the cipher wants to end the server")),
    "what is no Exception": Faulty(_raise(Panic, "index out of bounds")),
}

RETURNING: dict[str, Faulty] = {
    "None": Faulty(lambda _: None),
    "a str": Faulty(lambda body: body.decode("latin-1")),
    "a bytearray": Faulty(bytearray),
    "a LF": Faulty(lambda body: body + b"\n"),
    "a CRLF": Faulty(lambda body: b"\r\n" + body),
    "one CR too many": Faulty(lambda body: b"\r" + body),
    "more than a line may have": Faulty(lambda _: bytes(HUGE)),
}

FAULTY = RAISING | RETURNING


class NoTransform:
    """Fails as soon as it is asked for a transform."""

    def encryptor(self) -> Transform:
        raise OSError("no entropy")


class Held:
    """A slow cipher that codes the line `hold` when it is told to."""

    slow = True

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()

    def encrypt(self, body: bytes) -> bytes:
        if body == b"hold":
            self.begun.set()
            assert self.go.wait(20)
        return body.upper()
