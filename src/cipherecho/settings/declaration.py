"""How an option of the server is declared: once, at the field that holds its value.

The command line, the environment, the settings file, ``--help`` and the reference are made
from the declarations; they take the default, too, from the field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from enum import StrEnum
from typing import Any

__all__ = [
    "COUNT",
    "COUNT_OR_INF",
    "DELAY",
    "FILE",
    "METRICS_URL",
    "PEER",
    "RATE",
    "SECONDS",
    "SIZE",
    "URL",
    "Declaration",
    "Heading",
    "Number",
    "Switch",
    "Value",
    "Words",
    "check_numbers",
    "declarations",
    "option",
]

_KEY = "option"


class Heading(StrEnum):
    """The headings of options, in the order of the help."""

    SERVED = "What is served"
    LISTENING = "Listening"
    TLS = "TLS"
    LIMITS = "Limits"
    WATCHING = "Log and metrics"
    PROCESS = "The process"


# Plain classes: making a dataclass takes a millisecond, for which every command would wait.


class Value:
    """The kind of value that an option takes; `metavar` stands for it in the help."""

    def __init__(self, metavar: str) -> None:
        self.metavar = metavar


class Words(Value):
    """One of some words."""

    def __init__(self, *words: str) -> None:
        super().__init__("")  # the words themselves are shown
        self.words = words


class Switch(Value):
    """True or false, or one word that means more than true."""

    def __init__(self, more: str) -> None:
        super().__init__(f"[{more}]")
        self.more = more


class Number(Value):
    """A number greater than 0, or 0 if `zero` says so; never NaN.

    Args:
      metavar: stands for it in the help.
      expected: describes it in messages, after "expected".
      whole: whether it must be a whole number.
      zero: whether it may be 0.
      infinite: whether it may be ``inf``, for no limit.
    """

    def __init__(
        self,
        metavar: str,
        expected: str,
        *,
        whole: bool = False,
        zero: bool = False,
        infinite: bool = False,
    ) -> None:
        super().__init__(metavar)
        self.expected = expected
        self.whole = whole
        self.zero = zero
        self.infinite = infinite

    def allows(self, number: float) -> bool:
        """Return whether a number is large enough."""
        return number > 0 or (self.zero and number == 0)


COUNT = Number("N", "a whole number, 1 or more", whole=True)
COUNT_OR_INF = Number(
    "N", "a whole number, 1 or more ('inf' for no limit)", whole=True, infinite=True
)
DELAY = Number("SECONDS", "seconds, 0 or more", zero=True)
RATE = Number("N", "connections a second, more than 0 ('inf' for no limit)", infinite=True)
SECONDS = Number("SECONDS", "seconds, more than 0 ('inf' for ever)", infinite=True)
SIZE = Number("BYTES", "bytes, 1 or more, as in 65536, 64KiB or 1MiB", whole=True)

FILE = Value("FILE")
METRICS_URL = Value("URL")
PEER = Value("CIDR")
URL = Value("URL")


@dataclass(frozen=True)
class Declaration:
    """An option, as declared at the field `attribute`."""

    attribute: str
    name: str
    """Its key in a settings file.  On the command line, ``--`` precedes it."""
    default: Any
    """Its value by default; None for none."""
    value: Value | None
    """What it takes; None if it is a flag."""
    help: str
    heading: Heading
    of_process: bool
    """Whether it belongs to the process, although the field belongs to each listener."""
    repeatable: bool


def option(
    help: str,  # noqa: A002 (click and argparse call it so)
    value: Value | None = None,
    *,
    under: Heading = Heading.LIMITS,
    name: str = "",
    default: Any = None,
    of_process: bool = False,
    repeatable: bool = False,
) -> Mapping[str, Any]:
    """Return the metadata of a field that holds the value of an option.

    Without a `value`, the field's default says what the option takes: a word of an enum, or
    true or false.  Without a `name`, it is that of the field, with hyphens.  The `default` is
    for a field that has none itself.
    """
    return {_KEY: (help, value, under, name, default, of_process, repeatable)}


def declarations(settings: type) -> Iterator[Declaration]:
    """Yield the options that the fields of a dataclass declare, in order."""
    for field in fields(settings):
        if _KEY in field.metadata:
            yield _declaration(field)


def _declaration(field: Field[Any]) -> Declaration:
    text, value, heading, name, default, of_process, repeatable = field.metadata[_KEY]
    if field.default is not MISSING:
        default = field.default
    if value is None and isinstance(default, StrEnum):
        value = Words(*type(default))
    return Declaration(
        field.name,
        name or field.name.replace("_", "-"),
        default,
        value,
        text,
        heading,
        of_process,
        repeatable,
    )


def check_numbers(settings: Any) -> None:
    """Check the numbers in an instance of a dataclass.

    Raises:
      ValueError: a number is too small; the message says which.
    """
    for field in fields(settings):
        _, number, *_ = field.metadata.get(_KEY, (None, None))
        value = getattr(settings, field.name)
        if isinstance(number, Number) and not number.allows(value):
            expected = "0 or more" if number.zero else "more than 0"
            raise ValueError(f"{field.name}: got {value!r}, expected {expected}")
