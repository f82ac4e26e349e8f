"""Admission: how many clients a server holds, in all and from one source."""

from __future__ import annotations

from collections import defaultdict

import trio

from cipherecho.connections.client import Client
from cipherecho.connections.counters import Counters, Refused
from cipherecho.connections.log_throttle import LogThrottle
from cipherecho.network.sockets import peer_name
from cipherecho.server.capacity import MOST_REFUSALS
from cipherecho.server.pending_handshakes import PendingHandshakes
from cipherecho.server.sources import Sources
from cipherecho.settings.limits import Limits

__all__ = ["Admission"]


class Admission:
    """Counts the connections of a server, and decides which clients to refuse.

    Args:
      limits: how many connections one source may have, and how fast it may open them.
      most: how many connections are served at once.
      counters: counts the connections.
    """

    def __init__(self, limits: Limits, most: int, counters: Counters) -> None:
        self._most = most
        self._limits = limits
        sources = Sources(limits)
        # Without limits there are no calls, for which every connection would pay.
        self._sources = sources if sources else None
        self._counters = counters
        counters.most = self._most
        self._waiting = trio.lowlevel.ParkingLot()
        self._seldom: defaultdict[Refused, LogThrottle] = defaultdict(LogThrottle)
        self.places = self._most + MOST_REFUSALS
        """How many more clients may be held, including those that are not served."""
        # Clients in a handshake have half of the places at most.
        self._handshakes = PendingHandshakes(max(1, self._most // 2))
        self.needs_addresses = self._sources is not None
        """Whether a client's address is needed when it leaves."""
        self._being_refused = 0
        self._somebody_waits = False

    # Trio's semaphore costs several times as much, twice for each connection.

    async def wait_for_place(self) -> None:
        """Wait until one more client may be held."""
        while not self.places:
            self._somebody_waits = True
            await self._waiting.park()

    def hold(self) -> None:
        """Give an accepted client one of the places."""
        self.places -= 1
        self._counters.accepted += 1

    def give_back(self, client: Client) -> None:
        """Take back all that a client holds when it leaves."""
        if not client.is_served:
            self._handshakes.end(client)
            self.count_refusal(client, Refused.INTERNAL_ERROR)
            if client.is_being_refused:
                self._being_refused -= 1
        if client.is_admitted:
            self._counters.serving -= 1
            if self._sources is not None:
                self._sources.give_back(client.address)
        self.places += 1
        if self._somebody_waits:
            self._somebody_waits = False
            self._waiting.unpark_all()

    def admit(self, client: Client) -> Refused | None:
        """Count a client as served and return None, or return why it is refused.

        From here on, its address must be its own, and not its proxy's.
        """
        if self._counters.serving >= self._most:
            return Refused.FULL
        if self._sources is not None and (reason := self._sources.admit(client.address)):
            return reason
        self._counters.serving += 1
        client.is_admitted = True
        return None

    def begin_handshake(self, client: Client, until: float) -> trio.CancelScope:
        """Count a client in a handshake, and return the scope for that.

        The scope is cancelled at `until`, by Trio's clock, or when the client is crowded out.
        """
        scope, crowded_out = self._handshakes.begin(client, until)
        if crowded_out is not None and crowded_out.is_admitted:
            crowded_out.is_admitted = False
            self._counters.serving -= 1
            if self._sources is not None:
                self._sources.give_back(crowded_out.address)
        return scope

    def end_handshake(self, client: Client) -> bool:
        """Return whether a client got through its handshake without being crowded out."""
        return self._handshakes.end(client)

    def hurry_handshakes(self, deadline: float) -> None:
        """End the handshakes that are not done by `deadline`."""
        self._handshakes.hurry(deadline)

    def may_be_told(self, client: Client) -> bool:
        """Return whether a refused client may get an error line, and count it if so."""
        if self._being_refused >= MOST_REFUSALS:
            return False
        self._being_refused += 1
        client.is_being_refused = True
        return True

    def explain(self, reason: Refused) -> str:
        """Return the error message for a client that :meth:`admit` refused."""
        limits = self._limits
        if reason is Refused.SOURCE_FULL:
            return (
                f"your address has {limits.max_connections_per_source:g} connections, which is "
                "the limit; closing, end one of them first"
            )
        if reason is Refused.SOURCE_RATE:
            return (
                f"your address begins more than {limits.accept_rate:g} connections a second; "
                "closing, try again later"
            )
        return f"the server is full, serving {self._most}; closing, try again later"

    def count_refusal(self, client: Client, reason: Refused) -> None:
        """Count the refusal of a client, once."""
        if not client.is_counted:
            client.is_counted = True
            self._counters.refused[reason] += 1

    def refused(self, client: Client, reason: Refused, detail: str = "") -> None:
        """Count and log the refusal of a client; each reason is logged at most once a second."""
        self.count_refusal(client, reason)
        self._seldom[reason].warn(
            "refused a connection: peer=%(peer)s reason=%(reason)r"
            + (" detail=%(detail)r" if detail else ""),
            {"peer": peer_name(client.address), "reason": str(reason), "detail": detail},
        )
