"""The clients that are not through their handshake yet: a PROXY header, or TLS.

They cost a place and have shown nothing for it, so they have a share of the places.  When
that is used up, one of them has to go for each that comes, so that whoever opens connections
and says nothing on them only keeps itself out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from cipherecho.client import Client
from cipherecho.sources import Source, source_of

__all__ = ["Handshake", "Handshakes"]


class Handshake:
    """One client's wait for its handshake.

    Args:
      scope: bounds the wait.
    """

    __slots__ = ("is_crowded_out", "scope")

    def __init__(self, scope: trio.CancelScope) -> None:
        self.scope = scope
        self.is_crowded_out = False
        """Whether it was ended to make room for another client."""


class Handshakes:
    """All handshakes of a server that are under way.

    Args:
      most: how many there may be, from 1.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._number = 0
        # By source, each in the order in which they began.
        self._under_way: dict[Source | None, dict[Client, Handshake]] = {}

    @contextmanager
    def under_way(self, client: Client, until: float) -> Iterator[Handshake]:
        """Count a handshake as long as it goes on, and cancel what is done for it in time.

        That is at `until`, by Trio's clock, or when it has to make room: of the source that
        has the most of them, the longest waiting goes.  Clients without a source, on Unix
        sockets, are one together.
        """
        source = source_of(client.address)
        if self._number >= self._most:
            self._make_room()
        with trio.CancelScope(deadline=until) as scope:
            handshake = Handshake(scope)
            self._under_way.setdefault(source, {})[client] = handshake
            self._number += 1
            try:
                yield handshake
            finally:
                if not handshake.is_crowded_out:
                    self._forget(source, client)

    def hurry(self, deadline: float) -> None:
        """End those that are not done by `deadline`."""
        for waiting in self._under_way.values():
            for handshake in waiting.values():
                handshake.scope.deadline = min(handshake.scope.deadline, deadline)

    def _make_room(self) -> None:
        source = max(self._under_way, key=lambda one: len(self._under_way[one]))
        client, handshake = next(iter(self._under_way[source].items()))
        handshake.is_crowded_out = True
        self._forget(source, client)  # at once, since its task ends some turns later
        handshake.scope.cancel()

    def _forget(self, source: Source | None, client: Client) -> None:
        waiting = self._under_way[source]
        del waiting[client]
        if not waiting:
            del self._under_way[source]
        self._number -= 1
