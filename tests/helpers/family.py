"""A family of ciphers for the tests; whole in itself, so that it can be installed as a plugin."""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import Annotated, Any, Literal

from cipherecho.cipher import OptionError, Takes, Vector, letter_table

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Moved:
    """Moves letters, so many places as an option says that has the name of the unit."""

    family = True

    def __new__(cls, unit: Annotated[str, "its name"], left: bool = False) -> Any:
        """Return the member whose one option is called `unit`."""
        if unit == "leagues":
            raise OptionError("unit", unit, "the name of a unit")
        return {"nothing": None, "families": Moved}.get(unit, Member(unit, left))


class Member:
    """What the family makes: a callable whose signature is known when it is made."""

    def __init__(self, unit: str, left: bool) -> None:
        self.__doc__ = f"Moves letters by {unit}.\n\nAnd leaves the rest."
        self.unit = unit
        self.left = left
        takes = Annotated[str, Takes("a whole number, 0 to 25"), f"how many {unit}"]
        case = Annotated[Literal["both"], "which letters"]
        self.__signature__ = Signature(
            [
                Parameter(unit.replace("-", "_"), Parameter.KEYWORD_ONLY, annotation=takes),
                Parameter("case", Parameter.KEYWORD_ONLY, annotation=case, default="both"),
                Parameter("note", Parameter.KEYWORD_ONLY, annotation=str, default=None),
            ]
        )
        coded = "xyz\nuvw" if left else "def\nabc"
        self.vectors = (Vector("abc\nxyz", coded, source="counting", options="3"),)

    def __call__(self, **options: str) -> Shift:
        """Return the cipher that moves letters by the one option."""
        given = options[self.unit.replace("-", "_")]
        if not given.isdecimal() or int(given) > 25:
            raise OptionError(self.unit, given, "a whole number, 0 to 25")
        return Shift(-int(given) if self.left else int(given))


class Shift:
    """Every letter so many places on."""

    def __init__(self, places: int) -> None:
        self.table = letter_table(LETTERS[places:] + LETTERS[:places])
