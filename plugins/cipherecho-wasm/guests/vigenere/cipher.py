"""The Vigenère cipher in Python: what codes the lines of one connection."""

from __future__ import annotations

from string import ascii_letters, ascii_lowercase, ascii_uppercase

from componentize_py_types import Err, Ok, Result
from wit_world.exports import cipher
from wit_world.exports.cipher import BadOption, Direction

LETTERS = frozenset(ascii_letters.encode())

# For each number of a key, what becomes of each byte.
MOVED = [
    bytes.maketrans(
        ascii_letters.encode(),
        "".join(case[by:] + case[:by] for case in (ascii_lowercase, ascii_uppercase)).encode(),
    )
    for by in range(26)
]


class Transform(cipher.Transform):
    """Moves letters, each by the next number of `key`, from the one at `position` on."""

    def __init__(self, key: list[int], position: int = 0) -> None:
        self._key = key
        self._position = position

    @classmethod
    def start(cls, options: list[tuple[str, str]], direction: Direction) -> Transform:
        key = dict(options)["key"]
        if not (key.isascii() and key.isalpha()):
            raise Err(BadOption("key", expected="one or more letters A-Z"))
        numbers = [ascii_uppercase.index(letter) for letter in key.upper()]
        if direction == Direction.DECRYPT:
            numbers = [-number % 26 for number in numbers]
        return cls(numbers)

    def code(self, lines: list[bytes]) -> list[Result[bytes, str]]:
        return [Ok(self._code(line)) for line in lines]

    def copy(self) -> Transform:
        return Transform(self._key, self._position)

    def _code(self, line: bytes) -> bytes:
        coded = bytearray(line)
        position = self._position
        for at, byte in enumerate(line):
            if byte in LETTERS:
                coded[at] = MOVED[self._key[position]][byte]
                position = (position + 1) % len(self._key)
        self._position = position
        return bytes(coded)
