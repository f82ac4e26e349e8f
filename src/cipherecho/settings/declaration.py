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
    """What options stand under, in the order of the help."""

    SERVED = "What is served"
    LISTENING = "Listening"
    TLS = "TLS"
    LIMITS = "Limits"
    WATCHING = "Log and metrics"
    PROCESS = "The process"


# Plain classes, since it takes a millisecond to make a dataclass, and all commands wait for that.


class Value:
    """What an option takes; `metavar` stands for it in the help."""

    def __init__(self, metavar: str) -> None:
        self.metavar = metavar


class Words(Value):
    """One of some words."""

    def __init__(self, *words: str) -> None:
        super().__init__("")  # the words themselves are shown
        self.words = words


class Switch(Value):
    """True or false, or a word for more than that."""

    def __init__(self, more: str) -> None:
        super().__init__(f"[{more}]")
        self.more = more


class Number(Value):
    """A number that is more than 0, or perhaps 0 too; NaN is neither.

    Args:
      metavar: what stands for it in the help.
      expected: what to give instead of something else, in words.
      whole: whether it has to be a whole number.
      zero: whether it may be 0.
      infinite: whether it may be ``inf``, which is no limit.
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
        """Return whether a number is as large as it has to be."""
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
    """An option, as the field called `attribute` declares it."""

    attribute: str
    name: str
    """Its key in a settings file; with ``--`` before it, the option on the command line."""
    default: Any
    """What it is if nobody gives it; None for nothing."""
    value: Value | None
    """None if it is a flag."""
    help: str
    heading: Heading
    of_process: bool
    """Whether the process has one, though the field is of each listener."""
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
    """Yield what the fields of a dataclass declare, in their order."""
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
    """Check those fields of a dataclass's instance that are declared as numbers.

    Raises:
      ValueError: one of them is too small; the message says which.
    """
    for field in fields(settings):
        _, number, *_ = field.metadata.get(_KEY, (None, None))
        value = getattr(settings, field.name)
        if isinstance(number, Number) and not number.allows(value):
            expected = "0 or more" if number.zero else "more than 0"
            raise ValueError(f"{field.name}: got {value!r}, expected {expected}")
