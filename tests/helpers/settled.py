"""What has to hold at the end of every test of the whole server."""

from __future__ import annotations

from cipherecho.connections.buffers import Buffers
from cipherecho.connections.counters import Counters

__all__ = ["check_settled"]


def check_settled(counters: Counters, buffers: Buffers | None = None) -> None:
    """Check that, whatever happened to connections, none is left, and each was counted once.

    Nor do `buffers` have any down for anything, if they are of this server alone.
    """
    assert counters.serving == 0
    assert list(counters.open()) == []
    assert counters.accepted == sum(counters.closed.values()) + sum(counters.refused.values())
    # And each reason is one that a metric has from the start.
    assert counters.closed.keys() == Counters().closed.keys()
    assert counters.refused.keys() == Counters().refused.keys()
    assert buffers is None or buffers.bytes == 0
