"""The bounds of a server."""

from __future__ import annotations

from dataclasses import fields
from math import inf, nan
from typing import Any

import pytest

from cipherecho.settings.limits import Limits


@pytest.mark.parametrize("value", [0, -1, nan])
@pytest.mark.parametrize("name", [one.name for one in fields(Limits)])
def test_a_bound_is_more_than_nothing(name: str, value: float) -> None:
    bounds: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"{name}: got {value!r}, expected more than 0"):
        Limits(**bounds)


def test_a_time_can_be_without_bound() -> None:
    assert Limits(idle_timeout=inf).idle_timeout == inf


def test_the_longest_line_is_that_of_the_wire_contract() -> None:
    assert Limits().max_line == 65_536
