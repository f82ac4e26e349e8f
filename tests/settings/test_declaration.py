"""Options are declared at the fields that hold their values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import nan
from typing import Any

import pytest

from cipherecho.settings.declaration import (
    COUNT,
    DELAY,
    FILE,
    Heading,
    Words,
    check_numbers,
    declarations,
    option,
)
from cipherecho.settings.limits import Limits
from cipherecho.settings.listener import Listener
from cipherecho.settings.process import ProcessSettings
from cipherecho.settings.tls import TlsSettings


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True)
class Settings:
    file_name: str = field(metadata=option("A file.", FILE, name="from", under=Heading.TLS))
    most_words: int = field(default=3, metadata=option("Words.", COUNT))
    pause: float = field(default=0, metadata=option("A pause.", DELAY))
    colour: Colour = field(default=Colour.RED, metadata=option("A colour."))
    loud: bool = field(default=False, metadata=option("Be loud."))
    inner: int = 7
    """No option."""


def test_a_declaration_has_its_name_default_and_value_from_the_field() -> None:
    found = {one.attribute: one for one in declarations(Settings)}
    assert [one.name for one in found.values()] == ["from", "most-words", "pause", "colour", "loud"]
    assert [one.default for one in found.values()] == [None, 3, 0, Colour.RED, False]
    assert found["file_name"].value is FILE
    colour = found["colour"].value
    assert isinstance(colour, Words)
    assert colour.words == ("red", "green")
    assert found["loud"].value is None


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"most_words": 0}, "most_words: got 0, expected more than 0"),
        ({"pause": -1}, "pause: got -1, expected 0 or more"),
        ({"pause": nan}, "pause: got nan, expected 0 or more"),
    ],
)
def test_a_number_that_is_too_small_is_refused(values: dict[str, Any], problem: str) -> None:
    check_numbers(Settings("x"))
    with pytest.raises(ValueError, match=f"^{problem}$"):
        check_numbers(Settings("x", **values))


def test_settings_of_the_process_are_checked() -> None:
    with pytest.raises(ValueError, match="drain_delay: got -1, expected 0 or more"):
        ProcessSettings(drain_delay=-1)


def test_no_name_is_declared_twice() -> None:
    every = (Limits, Listener, ProcessSettings, TlsSettings)
    names = [one.name for settings in every for one in declarations(settings)]
    assert len(names) == len(set(names))
