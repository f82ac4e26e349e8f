"""What tests of the whole server have in common: both drivers, and what has to hold at the end."""

from __future__ import annotations

import pytest

from cipherecho.connections.buffers import Buffers
from cipherecho.connections.counters import Counters
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


def check_settled(counters: Counters, buffers: Buffers | None = None) -> None:
    """Check that, whatever happened to connections, none is left, and each was counted once.

    Nor do `buffers` have any down for anything, if they are of this server alone.
    """
    assert counters.serving == 0
    assert list(counters.open()) == []
    assert counters.accepted == counters.closed.total() + counters.refused.total()
    # And each reason is one that a metric has from the start.
    assert counters.closed.keys() == Counters().closed.keys()
    assert counters.refused.keys() == Counters().refused.keys()
    assert buffers is None or buffers.bytes == 0
