"""The clients whose handshake, a PROXY header or TLS, has not finished.

They take places before they have shown that they are real clients, so they get only a share of the
places.  When that share is used up, each new client replaces one of them.  So a client that opens
connections and sends nothing shuts out only itself.
"""

from __future__ import annotations

import trio

from cipherecho.connections.client import Client
from cipherecho.settings.addresses import Source, source_of

__all__ = ["PendingHandshakes"]


class PendingHandshakes:
    """All running handshakes of a server.

    Args:
      most: how many may run at once, at least 1.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._number = 0
        # By source, in the order in which they began.  Clients on Unix sockets have no source;
        # together they count as one.
        self._under_way: dict[Source | None, dict[Client, trio.CancelScope]] = {}

    def begin(self, client: Client, until: float) -> tuple[trio.CancelScope, Client | None]:
        """Count a client's handshake; return its cancel scope, and the client crowded out by it.

        The scope is cancelled at `until`, by Trio's clock, or when the client itself is crowded
        out.  Of the source with the most handshakes, the one that began first is crowded out.
        """
        crowded_out = self._make_room() if self._number >= self._most else None
        scope = trio.CancelScope(deadline=until)
        self._under_way.setdefault(source_of(client.address), {})[client] = scope
        self._number += 1
        return scope, crowded_out

    def end(self, client: Client) -> bool:
        """Stop counting a client's handshake; return False if it was crowded out or never began.

        The client's address must be the same as when the handshake began.
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
        """Cancel the handshakes that have not finished by `deadline`, by Trio's clock."""
        for waiting in self._under_way.values():
            for scope in waiting.values():
                scope.deadline = min(scope.deadline, deadline)

    def _make_room(self) -> Client:
        source = max(self._under_way, key=lambda one: len(self._under_way[one]))
        client, scope = next(iter(self._under_way[source].items()))
        self.end(client)  # now, since its task ends some turns of the loop later
        scope.cancel()
        return client
