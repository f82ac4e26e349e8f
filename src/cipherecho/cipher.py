"""The cipher contract: what the author of a plugin needs to know, and import.

The lowest layer; it imports nothing else of cipherecho.

A plugin is an entry point in the group ``cipherecho.ciphers`` that names a
**factory**, a class or a function.  The factory's parameters are the cipher's
options: their names, annotations and defaults are the schema, and its docstring
is the help.  What the factory returns is a **cipher**: immutable, and shared by
every connection.  A cipher has one of three shapes, whichever is simplest:

:class:`Substitution`
    an attribute ``table``: every byte is replaced by another, whatever stands
    around it.  Has an inverse and the fastest path for nothing.
:class:`Stateless`
    a method ``encrypt`` and, if there is an inverse, ``decrypt``: a line's
    code depends on that line alone.
:class:`Stateful`
    a method ``encryptor`` and, if there is an inverse, ``decryptor``: each call
    makes a fresh transform for one connection, which may remember earlier lines.

None of the three has to be inherited from.  The smallest plugin::

    class Reverse:
        \"\"\"Sends each line backwards.\"\"\"

        def encrypt(self, body: bytes) -> bytes:
            return body[::-1]

        decrypt = encrypt

A factory may say more of its ciphers, for the conformance kit and for help, in
attributes:

``vectors``
    known answers, a tuple of :class:`Vector`.
``stretches = True``
    a transform may be given many whole lines at once, with the line endings in them, which
    it passes on without a change of its state.  That is much faster than a call for each
    line.  Where the state or the code depends on what a line is, see :class:`BlockTransform`.
``slow = True``
    coding a line takes milliseconds, or waits for something.  The server then codes in a
    worker thread, so that nobody else waits for it; each connection's lines stay in
    order, and a transform is never used by two threads at once.
``random = True``
    the same line has another code each time.
``secure = True``
    it is meant to keep a secret; every other cipher is listed as a toy.  To be seen in
    lists, it stands in the class as just that.
``lossy = True``
    what is decrypted is not always what was encrypted, as with Playfair.

A factory with ``family = True`` is a **family**: it makes no cipher, but a factory that
does, its **member**, which has a signature, a docstring and attributes of its own.  Of the
options in a specification, a family takes those that it has parameters for, a bare
first value among them, and its member takes all others.  So ``wasm:module=caesar.wasm,shift=5``
can have an option that is known when the module is loaded and not before.  A member has any
callable's signature, be it one in ``__signature__``; its options have other names than its
family's, and it is no family itself.

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
"""Codes one body, in one direction, for one connection.

A transform that remembers earlier lines keeps what it remembers as plain data in
attributes of its own (not in a closure, a generator or an object of the system's), so
that it can be copied with :func:`copy.deepcopy`:
when a later cipher of a chain rejects a line, the copy takes its place and the
line has left no trace.  A transform that raises :class:`InputError` must itself
be as it was before the call.
"""


class BlockTransform(Protocol):
    """A transform that can be given many lines in one call, and tells them apart by itself.

    It is for a cipher whose call is dear, in another process or another language.  The
    method alone makes a transform one: it need not inherit from this.
    """

    def __call__(self, body: bytes, /) -> bytes:
        """Return the code of one body, like every transform."""
        ...

    def block(self, text: bytes, /) -> tuple[bytes, Mapping[int, InputError | str]]:
        """Return the code of every line of `text`, and why lines were rejected.

        `text` is whole lines with their endings, LF or CRLF, the last one included: 2 to
        2,048 of them, and at most 64 KiB altogether.  No body has a CR.

        The code has as many lines, each with the ending of the line that it answers, in one
        ``bytes``.  What is rejected is given by its number in `text`, from 0, with the reason;
        nothing but its ending is in the code.  Afterwards the state is that of the accepted
        lines alone.  Whatever is raised, :class:`InputError` too, is a failure, and the state
        is lost.
        """
        ...


class _Shape(Protocol):
    # Without it, a protocol's heirs have an __init__(*args, **kwargs) of typing's until
    # the first is made, and a factory's parameters are its options.
    def __init__(self) -> None: ...


class Substitution(_Shape, Protocol):
    """The shape of a cipher that replaces each byte by another one.

    Example: :func:`letter_table` makes the table of a letter substitution.
    """

    @property
    def table(self) -> bytes:
        """256 bytes, in the manner of :meth:`bytes.translate`.

        A bijection that leaves LF and CR where they are.
        """
        ...


class Stateless(_Shape, Protocol):
    """The shape of a cipher that codes each line by itself.

    A method ``decrypt`` of the same form makes it invertible.
    """

    def encrypt(self, body: bytes, /) -> bytes:
        """Return the code of `body`; :class:`InputError` if it has none."""
        ...


class Stateful(_Shape, Protocol):
    """The shape of a cipher whose code for a line depends on earlier lines.

    A method ``decryptor`` of the same form makes it invertible.
    """

    def encryptor(self) -> Transform:
        """Return a fresh transform, at the start of its state."""
        ...


Cipher: TypeAlias = Substitution | Stateless | Stateful


class InputError(CipherechoError, ValueError):
    """Raised by a cipher that has no code for this line, and will for others.

    The client gets the message in an error line, and the connection goes on.
    The message says what was given and what was expected, in one line; it is
    escaped and cut in length on its way out.
    """

    def __str__(self) -> str:
        """Return the message, or one that has to do if there is none."""
        return super().__str__() or "the cipher has no code for this line"


class OptionError(CipherechoError, ValueError):
    """Raised by a factory that was given an option it can't use.

    `option` is the name of the factory's parameter, `given` the value, and
    `expected` says what it takes, to follow the word "expected".

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
    """The numbers that an option takes, `low` and `high` included.

    It stands in the annotation of a factory's parameter, where it is both
    checked and shown: ``shift: Annotated[int, Range(0, 25), "places to move"]``.

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
    """What an option takes, in words that follow "expected", and that only people read.

    They are shown instead of those for the option's type, where the factory knows better and
    checks it by itself: ``shift: Annotated[str, Takes("a whole number, 0 to 25")]``.

    >>> str(Takes("a whole number, 0 to 25"))
    'a whole number, 0 to 25'
    """

    words: str

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Vector:
    """A known answer: `plaintext` encrypts to `ciphertext`, says `source`.

    Both are text as it would be written to UTF-8; a LF separates the lines of
    a message, and there is none at the end.  `options` are written as in a
    specification (``"5"``, ``"key=LEMON"``).  A cipher's vectors are kept on its
    factory, as an attribute ``vectors``.
    """

    plaintext: str
    ciphertext: str
    source: str
    options: str = ""


def letter_table(cipher_alphabet: str) -> bytes:
    """Return the table that replaces A to Z by the letters of `cipher_alphabet`.

    Small letters are replaced by the small letters of the same; every other byte,
    those of non-ASCII letters included, stays as it is.

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
    r"""Return the characters of `body`, for a cipher that moves characters and not bytes.

    Strict: what is not UTF-8 is refused, since moving half a character would mangle it.
    ``str.encode()`` is the way back.

    Raises:
      InputError: `body` is not UTF-8; the message says where it stops being so.

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
