"""Specifications: how a cipher and its options are written on a command line.

::

    caesar                          the name
    caesar:5                        a bare first value is the first option
    enigma:rotors="I II III",start=AAA
    caesar@cipherecho-classical:5   from this distribution, where two have the name

Inside quotes (``"`` or ``'``), only the backslash is special.  A backslash makes the next
character literal, anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from cipherecho.ciphers.checkout import package_of
from cipherecho.errors import CipherechoError

__all__ = [
    "SelectionError",
    "Specification",
    "SpecificationError",
    "UnnamedValueError",
    "normalized_name",
    "parse",
]


class SelectionError(CipherechoError):
    """The requested cipher can't be used.  Each reason is a subclass."""


class SpecificationError(SelectionError):
    """The text is not a valid specification.

    `text` is what was given.  `instead` is the specification that was probably meant, or None.
    """

    def __init__(self, text: str, problem: str, instead: str | None = None) -> None:
        self.text = text
        self.instead = instead
        super().__init__(f"cipher {text!r}: {problem}")


class UnnamedValueError(SpecificationError):
    """A value after the first has no name.

    `name` is the name of the cipher, with its package if that was given.  `values` are pairs of an
    option's name, or None, and its value.
    """

    def __init__(
        self, text: str, value: str, name: str, values: Sequence[tuple[str | None, str]]
    ) -> None:
        self.name = name
        self.values = tuple(values)
        super().__init__(
            text,
            f"expected NAME=VALUE, got {value!r}: only the first value can go without its "
            "name (a comma inside a value is written \\,)",
        )


@dataclass(frozen=True)
class Specification:
    """A cipher's name and options, parsed but not yet looked up.

    `first` is the first value if it has no name.  `options` are the others, in the order given,
    with normalized names.

    >>> parse("Enigma:rotors='I II III',start=AAA")
    Specification(name='enigma', distribution=None, first=None, \
options=(('rotors', 'I II III'), ('start', 'AAA')))
    """

    name: str
    distribution: str | None = None
    first: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Return text that parses to an equal specification."""
        values = [] if self.first is None else [_quoted(self.first)]
        values += [f"{_quoted(name)}={_quoted(value)}" for name, value in self.options]
        origin = f"@{self.distribution}" if self.distribution else ""
        return f"{self.name}{origin}" + (":" + ",".join(values) if values else "")


def normalized_name(name: str) -> str:
    """Return the form in which names are compared: small letters and hyphens.

    >>> normalized_name("Rail_Fence")
    'rail-fence'
    """
    return re.sub(r"[_.]", "-", name).lower()


def parse(text: str) -> Specification:
    """Return the specification that `text` describes.

    Raises:
      SpecificationError: with what is wrong, and where.
    """
    head, colon, tail = text.partition(":")
    name, at, distribution = head.strip().partition("@")
    if not name:
        raise SpecificationError(text, "expected a name first, such as rot13 or caesar:5")
    if at and not distribution:
        raise SpecificationError(text, "expected the name of a package after '@'")
    first: str | None = None
    options: list[tuple[str, str]] = []
    if colon and not tail:
        raise SpecificationError(text, "expected options after ':', or no ':'", head)
    if not at:
        _refuse_other_separators(text, name)
    values = list(_split(text, tail)) if colon else []
    for number, (option, value) in enumerate(values):
        if option is not None:
            if option in dict(options):
                raise SpecificationError(text, f"option {option} is given twice")
            options.append((option, value))
        elif number == 0:
            first = value
        else:
            raise UnnamedValueError(text, value, head.strip(), values)
    return Specification(
        normalized_name(name), normalized_name(distribution) or None, first, tuple(options)
    )


def _refuse_other_separators(text: str, name: str) -> None:
    """Refuse a name that is followed by something other than a colon, as in ``caesar=5``."""
    parts = re.fullmatch(r"(?P<name>[\w.-]+)\s*(?P<mark>[\s=(,/?;|+>]).*", name, re.DOTALL)
    if parts is None:
        return
    rest = text.strip()[len(parts["name"]) :].lstrip(" \t=(,/?;|+>").removesuffix(")")
    following = re.match(r"[\w.-]*", rest)
    if parts["mark"] in "|+>" or (following and normalized_name(following[0]) in package_of):
        raise SpecificationError(
            text, f"expected one cipher; for a chain, repeat the option: {parts['name']}, {rest}"
        )
    instead = f"{parts['name']}:{rest}" if rest else parts["name"]
    raise SpecificationError(
        text, f"expected a colon between a cipher and its options: {instead}", instead
    )


# A value consists of quoted, escaped and plain pieces.
_PIECE = re.compile(
    r""" "(?P<double>(?:[^"\\]|\\.)*)" | '(?P<single>(?:[^'\\]|\\.)*)'
       | \\(?P<escaped>.) | (?P<equals>=) | (?P<comma>,) | (?P<plain>[^"'\\=,]+) """,
    re.VERBOSE | re.DOTALL,
)


def _pieces(text: str, tail: str) -> Iterator[tuple[str, str]]:
    """Yield the kind of each piece of `tail`, and its content."""
    position = 0
    while position < len(tail):
        piece = _PIECE.match(tail, position)
        if piece is None:
            what = "a character after the \\" if tail[position] == "\\" else "a closing quote"
            raise SpecificationError(text, f"expected {what}")
        kind = piece.lastgroup or ""
        content = piece[kind]
        if kind in ("double", "single"):
            content = re.sub(r"\\(.)", r"\1", content, flags=re.DOTALL)
        yield kind, content
        position = piece.end()


def _split(text: str, tail: str) -> Iterator[tuple[str | None, str]]:
    """Yield the name of each option in `tail`, or None, and its value."""
    name: str | None = None
    value: str | None = None  # None until there is one; empty quotes are one
    for kind, content in chain(_pieces(text, tail), [("comma", ",")]):
        if kind == "comma":
            if name is None and value is None:
                raise SpecificationError(text, "expected an option before and after each comma")
            yield name, value or ""
            name = value = None
        elif kind == "equals" and name is None:
            name, value = normalized_name((value or "").strip()), None
            if not name:
                raise SpecificationError(text, "expected the name of an option before '='")
        else:
            value = (value or "") + content


def _quoted(value: str) -> str:
    if value and not re.search(r"""[\s"'\\=,]""", value):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
