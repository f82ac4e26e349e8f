"""The reasons that are counted."""

from __future__ import annotations

import pytest

from cipherecho.connections.counters import Counters, Ended
from cipherecho.session import Closed


def test_a_reason_that_is_misspelt_is_not_counted_as_a_new_one() -> None:
    counters = Counters()
    with pytest.raises(KeyError):
        counters.closed["idel"] += 1  # type: ignore[index]
    with pytest.raises(KeyError):
        counters.refused["ful"] += 1  # type: ignore[index]


@pytest.mark.parametrize("reason", [one for one in Closed if one is not Closed.BY_SERVER])
def test_what_closes_a_session_ends_its_connection(reason: Closed) -> None:
    assert str(Ended(reason)) == str(reason)
