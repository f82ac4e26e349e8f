"""Who may come in: how many clients a server holds, in all and for one source."""

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
    """Counts the connections of a server, and says which of those that come it can't serve.

    Args:
      limits: how many there may be for one source, and how fast they may begin.
      most: how many of them are served at once.
      counters: where they are counted.
    """

    def __init__(self, limits: Limits, most: int, counters: Counters) -> None:
        self._most = most
        self._limits = limits
        sources = Sources(limits)
        # What is not limited is not asked about, as every connection would pay for it.
        self._sources = sources if sources else None
        self._counters = counters
        counters.most = self._most
        self._waiting = trio.lowlevel.ParkingLot()
        self._seldom: defaultdict[Refused, LogThrottle] = defaultdict(LogThrottle)
        self.places = self._most + MOST_REFUSALS
        """How many clients may still be held, those that are not served included."""
        # Those that are not through their handshake have half of the places at most.
        self._handshakes = PendingHandshakes(max(1, self._most // 2))
        self.needs_addresses = self._sources is not None
        """Whether a client's address has to be known when it leaves."""
        self._being_refused = 0
        self._somebody_waits = False

    # A semaphore of Trio's costs several times as much, twice for each connection.

    async def wait_for_place(self) -> None:
        """Return when one more client may be held."""
        while not self.places:
            self._somebody_waits = True
            await self._waiting.park()

    def hold(self) -> None:
        """Count a client that was accepted, in one of the places."""
        self.places -= 1
        self._counters.accepted += 1

    def give_back(self, client: Client) -> None:
        """Take back all that a client holds, as it leaves."""
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
        """Count a client among those that are served, or return for which reason it can't be.

        Its address is that of the client itself from here on.
        """
        if self._counters.serving >= self._most:
            return Refused.FULL
        if self._sources is not None and (reason := self._sources.admit(client.address)):
            return reason
        self._counters.serving += 1
        client.is_admitted = True
        return None

    def begin_handshake(self, client: Client, until: float) -> trio.CancelScope:
        """Count a client that has to shake hands first; return the scope to do that in.

        It is cancelled at `until`, by Trio's clock, or if the client has to make room for others.
        """
        scope, crowded_out = self._handshakes.begin(client, until)
        if crowded_out is not None and crowded_out.is_admitted:
            crowded_out.is_admitted = False
            self._counters.serving -= 1
            if self._sources is not None:
                self._sources.give_back(crowded_out.address)
        return scope

    def end_handshake(self, client: Client) -> bool:
        """Return whether a client that has done so did not have to make room meanwhile."""
        return self._handshakes.end(client)

    def hurry_handshakes(self, deadline: float) -> None:
        """End the handshakes that are not done by `deadline`."""
        self._handshakes.hurry(deadline)

    def may_be_told(self, client: Client) -> bool:
        """Count a refused client among those that are told why, if there are not too many."""
        if self._being_refused >= MOST_REFUSALS:
            return False
        self._being_refused += 1
        client.is_being_refused = True
        return True

    def explain(self, reason: Refused) -> str:
        """Return what a client is told that is refused for a reason of :meth:`admit`."""
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
        """Count that a client was not served, and why, unless that is known already."""
        if not client.is_counted:
            client.is_counted = True
            self._counters.refused[reason] += 1

    def refused(self, client: Client, reason: Refused, detail: str = "") -> None:
        """Count and log that a client was refused; each reason once a second at the most."""
        self.count_refusal(client, reason)
        self._seldom[reason].warn(
            "refused a connection: peer=%(peer)s reason=%(reason)r"
            + (" detail=%(detail)r" if detail else ""),
            {"peer": peer_name(client.address), "reason": str(reason), "detail": detail},
        )
