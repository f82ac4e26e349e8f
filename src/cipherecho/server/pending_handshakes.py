"""The clients that are not through their handshake yet: a PROXY header, or TLS.

They cost a place and have shown nothing for it, so they have a share of the places.  When
that is used up, one of them has to go for each that comes, so that whoever opens connections
and says nothing on them only keeps itself out.
"""

from __future__ import annotations

import trio

from cipherecho.connections.client import Client
from cipherecho.settings.addresses import Source, source_of

__all__ = ["PendingHandshakes"]


class PendingHandshakes:
    """All handshakes of a server that are under way.

    Args:
      most: how many there may be, from 1.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._number = 0
        # By source, each in the order in which they began. Clients without a source, on Unix
        # sockets, are one together.
        self._under_way: dict[Source | None, dict[Client, trio.CancelScope]] = {}

    def begin(self, client: Client, until: float) -> tuple[trio.CancelScope, Client | None]:
        """Count a client among them; return what bounds its time, and who had to make room.

        The scope is cancelled at `until`, by Trio's clock, or when the client has to make room
        itself.  That is, of the source that has the most of them, whoever has waited longest.
        """
        crowded_out = self._make_room() if self._number >= self._most else None
        scope = trio.CancelScope(deadline=until)
        self._under_way.setdefault(source_of(client.address), {})[client] = scope
        self._number += 1
        return scope, crowded_out

    def end(self, client: Client) -> bool:
        """Count a client among them no more; return whether it was, and so was not crowded out.

        Its address has to be the one with which it began.
        """
        source = source_of(client.address)
        waiting = self._under_way.get(source)
        if waiting is None or waiting.pop(client, None) is None:
            return False
        if not waiting:
            del self._under_way[source]
        self._number -= 1
        return True

    def hurry(self, deadline: float) -> None:
        """End those that are not done by `deadline`."""
        for waiting in self._under_way.values():
            for scope in waiting.values():
                scope.deadline = min(scope.deadline, deadline)

    def _make_room(self) -> Client:
        source = max(self._under_way, key=lambda one: len(self._under_way[one]))
        client, scope = next(iter(self._under_way[source].items()))
        self.end(client)  # at once, since its task ends some turns later
        scope.cancel()
        return client
