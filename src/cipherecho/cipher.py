"""The cipher contract: all that a plugin's author has to know and import.

The lowest layer: it imports only the root of all errors.

A plugin is an entry point in the group ``cipherecho.ciphers`` that names a
**factory**, a class or a function.  The factory's parameters are the cipher's
options: their names, annotations and defaults are the schema, and its docstring
is the help.  What the factory returns is a **cipher**: immutable, and shared by
every connection.  A cipher has one of three shapes; choose the simplest that fits:

:class:`Substitution`
    an attribute ``table``: every byte is replaced by another, whatever its neighbours are.
    The inverse follows from the table, and this is the fastest shape.
:class:`Stateless`
    a method ``encrypt`` and, if there is an inverse, ``decrypt``: the ciphertext of a line
    depends on that line alone.
:class:`Stateful`
    a method ``encryptor`` and, if there is an inverse, ``decryptor``: each call
    makes a fresh transform for one connection, which may remember earlier lines.

A cipher need not inherit from any of them.  The smallest plugin::

    class Reverse:
        \"\"\"Sends each line backwards.\"\"\"

        def encrypt(self, body: bytes) -> bytes:
            return body[::-1]

        decrypt = encrypt

A factory can describe its ciphers further, in attributes:

``vectors``
    known answers, a tuple of :class:`Vector`.
``stretches = True``
    a transform accepts many whole lines in one call.  It copies the line endings in them, and
    they don't change its state.  One call for many lines is much faster than one for each.  If
    the state or the result depends on where lines end, see :class:`BlockTransform`.
``slow = True``
    a line takes milliseconds, or waits for something.  The server then codes lines in worker
    threads, so that other clients don't wait.  Each connection's lines stay in order, and no
    two threads use a transform at once.
``random = True``
    the same line has a different ciphertext each time.
``secure = True``
    the cipher is meant to keep secrets; lists call every other cipher a toy.  Lists don't import
    the plugin, so write it literally like this in the class.
``lossy = True``
    decrypting doesn't always give back the plaintext, as with Playfair.

A factory with ``family = True`` is a **family**.  It returns another factory, its **member**,
which makes the cipher and has a signature, a docstring and attributes of its own.  The family
takes the options that it has parameters for, and the bare first value; the member takes all
others.  So in ``wasm:module=caesar.wasm,shift=5``, ``shift`` is an option of the module, and known
only once that is loaded.  A member can also have its signature in ``__signature__``.  None of its
options may have the name of one of the family's, and it can't be a family itself.

A **body** is a line without its ending: any bytes but LF, possibly none.  What a
cipher returns for it must be ``bytes`` with no LF and with no more CRs than the
body had, and at most 16 times the line limit plus 4 KiB long.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from cipherecho.errors import CipherechoError

__all__ = [
    "BlockTransform",
    "Cipher",
    "InputError",
    "OptionError",
    "Range",
    "Stateful",
    "Stateless",
    "Substitution",
    "Takes",
    "Transform",
    "Vector",
    "letter_table",
    "text_of",
]

Transform: TypeAlias = Callable[[bytes], bytes]
"""Encrypts or decrypts one body, for one connection.

A transform that remembers earlier lines keeps its state as plain data in its own attributes, not
in a closure, a generator or an operating system object: :func:`copy.deepcopy` has to copy it.
When a later cipher of a chain rejects a line, that copy replaces the transform, as if the line had
never come.  A transform that raises :class:`InputError` must leave its own state unchanged.
"""


class BlockTransform(Protocol):
    """A transform that accepts many lines in one call, and splits them itself.

    It is for a cipher whose calls are expensive, in another process or another language.  Any
    transform with the method is one; it need not inherit from this.
    """

    def __call__(self, body: bytes, /) -> bytes:
        """Return the result for one body, like every transform."""
        ...

    def block(self, text: bytes, /) -> tuple[bytes, Mapping[int, InputError | str]]:
        """Return the results for all lines of `text`, and the reasons for rejected lines.

        `text` has 2 to 2,048 whole lines, at most 64 KiB in all.  Every line, also the last, has
        its ending, LF or CRLF.  No body has a CR.

        The results are one ``bytes`` with as many lines, each with the ending of its original.  The
        mapping has the number of each rejected line in `text`, counted from 0, and the reason; the
        result of such a line is its ending alone.  Rejected lines leave the state unchanged.  An
        exception, even :class:`InputError`, means that the call has failed, and the state is lost.
        """
        ...


class _Shape(Protocol):
    # A factory's parameters are its options. Without this, typing gives subclasses of a protocol an
    # __init__(*args, **kwargs), until the first instance is made.
    def __init__(self) -> None: ...


class Substitution(_Shape, Protocol):
    """The shape of a cipher that replaces each byte by another one.

    Example: :func:`letter_table` makes the table of a letter substitution.
    """

    @property
    def table(self) -> bytes:
        """256 bytes for :meth:`bytes.translate`: a bijection that maps LF and CR to themselves."""
        ...


class Stateless(_Shape, Protocol):
    """The shape of a cipher that encrypts each line by itself.

    With a method ``decrypt`` of the same form, the cipher is invertible.
    """

    def encrypt(self, body: bytes, /) -> bytes:
        """Return the ciphertext of `body`; raise :class:`InputError` if there is none."""
        ...


class Stateful(_Shape, Protocol):
    """The shape of a cipher whose ciphertext of a line depends on earlier lines.

    With a method ``decryptor`` of the same form, the cipher is invertible.
    """

    def encryptor(self) -> Transform:
        """Return a fresh transform, in its initial state."""
        ...


Cipher: TypeAlias = Substitution | Stateless | Stateful


class InputError(CipherechoError, ValueError):
    """A cipher can't encrypt or decrypt this line; other lines are not affected.

    The client gets the message in an error line, and the connection goes on.  In one line, the
    message says what was given and what was expected.  The server escapes and shortens it.
    """

    def __str__(self) -> str:
        """Return the message, or a general one if there is none."""
        return super().__str__() or "the cipher rejected this line"


class OptionError(CipherechoError, ValueError):
    """A factory can't use the value of an option.

    `option` is the name of the factory's parameter, and `given` the value.  `expected` says what
    values it takes, and follows the word "expected" in the message.

    >>> raise OptionError("key", "4711", "one or more letters A-Z")
    Traceback (most recent call last):
    cipherecho.cipher.OptionError: option key: got '4711', expected one or more letters A-Z
    """

    def __init__(self, option: str, given: object, expected: str) -> None:
        self.option = option.replace("_", "-")
        self.given = given
        self.expected = expected
        super().__init__(f"option {self.option}: got {given!r}, expected {expected}")


@dataclass(frozen=True)
class Range:
    """The numbers that an option takes, from `low` to `high`, inclusive.

    Write it in the annotation of a factory's parameter.  Values are checked against it, and help
    shows it: ``shift: Annotated[int, Range(0, 25), "places to move"]``.

    >>> 25 in Range(0, 25), str(Range(0, 25))
    (True, '0 to 25')
    """

    low: float
    high: float

    def __contains__(self, number: float) -> bool:
        return self.low <= number <= self.high

    def __str__(self) -> str:
        return f"{self.low} to {self.high}"


@dataclass(frozen=True)
class Takes:
    """What an option takes, in words that follow "expected" in help and messages.

    They replace the words for the option's type.  Nothing checks them, so the factory has to check
    the value itself: ``shift: Annotated[str, Takes("a whole number, 0 to 25")]``.

    >>> str(Takes("a whole number, 0 to 25"))
    'a whole number, 0 to 25'
    """

    words: str

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Vector:
    """A known answer: according to `source`, `plaintext` encrypts to `ciphertext`.

    Both are text that is encoded as UTF-8.  An LF separates lines, and doesn't follow the last.
    `options` are written as in a specification (``"5"``, ``"key=LEMON"``).  A factory has its
    vectors in the attribute ``vectors``.
    """

    plaintext: str
    ciphertext: str
    source: str
    options: str = ""


def letter_table(cipher_alphabet: str) -> bytes:
    """Return the table that replaces A to Z by the letters of `cipher_alphabet`.

    Small letters are replaced in the same way by small letters.  All other bytes, including those
    of non-ASCII letters, stay as they are.

    Raises:
      ValueError: `cipher_alphabet` is not the 26 letters A-Z, each once.

    >>> b"Attack!".translate(letter_table("ZYXWVUTSRQPONMLKJIHGFEDCBA"))
    b'Zggzxp!'
    """
    if sorted(cipher_alphabet) != list(string.ascii_uppercase):
        raise ValueError(
            f"got the cipher alphabet {cipher_alphabet!r}, "
            "expected the 26 capital letters A-Z, each once"
        )
    coded = cipher_alphabet + cipher_alphabet.lower()
    return bytes.maketrans(
        (string.ascii_uppercase + string.ascii_lowercase).encode(), coded.encode()
    )


def text_of(body: bytes) -> str:
    r"""Return the characters of `body`, for a cipher that moves characters instead of bytes.

    The decoding is strict, since moving half a character would destroy it.  ``str.encode()`` is
    the inverse.

    Raises:
      InputError: `body` is not UTF-8; the message says where the first wrong byte is.

    >>> text_of("Größe".encode())[::-1].encode().decode()
    'eßörG'
    >>> text_of(b"Gr\xf6\xdfe")
    Traceback (most recent call last):
    cipherecho.cipher.InputError: got the byte 0xf6 at place 3, expected UTF-8
    """
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"got the byte 0x{body[error.start]:02x} at place {error.start + 1}, expected UTF-8"
        ) from None
