"""What tests of the whole server have in common: both drivers, and what has to hold at the end."""

from __future__ import annotations

import pytest

from cipherecho.connections.buffers import Buffers
from cipherecho.connections.counters import Tally
from cipherecho.connections.express_lane import has_express_lane

__all__ = ["DRIVERS", "check_settled"]

DRIVERS = [
    "task",
    pytest.param(
        "lane",
        marks=pytest.mark.skipif(not has_express_lane(), reason="the express lane needs epoll"),
    ),
]
"""What can drive connections, for a fixture that has a test run with each."""


def check_settled(tally: Tally, buffers: Buffers | None = None) -> None:
    """Check that, whatever happened to connections, none is left, and each was counted once.

    Nor do `buffers` have any down for anything, if they are of this server alone.
    """
    assert tally.serving == 0
    assert list(tally.open()) == []
    assert tally.accepted == tally.closed.total() + tally.refused.total()
    # And each reason is one that a metric has from the start.
    assert tally.closed.keys() == Tally().closed.keys()
    assert tally.refused.keys() == Tally().refused.keys()
    assert buffers is None or buffers.bytes == 0
