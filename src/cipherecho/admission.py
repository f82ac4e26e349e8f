"""Who may come in: how many connections a server holds, in all and for one source."""

from __future__ import annotations

import logging
from collections import defaultdict

import trio

from cipherecho.descriptors import descriptors_left
from cipherecho.limits import Limits
from cipherecho.recurring import Seldom
from cipherecho.sources import Sources
from cipherecho.tally import Tally

__all__ = ["MOST_REFUSALS", "Admission"]

log = logging.getLogger("cipherecho")

# How many clients at once are told why they are not served. It bounds what a flood of
# connections costs: when the server is full, those after them wait in the backlog.
MOST_REFUSALS = 64


class Admission:
    """Counts the connections of a server, and says which of those that come it can't serve.

    Args:
      limits: how many there may be.
      tally: where they are counted.
    """

    def __init__(self, limits: Limits, tally: Tally) -> None:
        self._most = _affordable(limits.max_connections)
        self._limits = limits
        sources = Sources(limits)
        # What is not limited is not asked about, as every connection would pay for it.
        self._sources = sources if sources else None
        self._tally = tally
        tally.most = self._most
        self._waiting = trio.lowlevel.ParkingLot()
        self._seldom: defaultdict[str, Seldom] = defaultdict(Seldom)
        self.counts_sources = self._sources is not None
        """Whether a client's address is needed when it leaves."""
        self.places = self._most + MOST_REFUSALS
        """How many connections may still be held, those that are not served included."""

    # A semaphore of Trio's costs several times as much, twice for each connection.

    async def wait_for_place(self) -> None:
        """Return when one more connection may be held."""
        while not self.places:
            await self._waiting.park()

    def give_place_back(self) -> None:
        """Let another connection be held for one that was closed."""
        self.places += 1
        if self._waiting:
            self._waiting.unpark_all()

    def admit(self, address: object) -> str | None:
        """Count a client among those that are served, or return for which reason it can't be.

        The address is that of the client itself, as `accept` gives it.
        """
        if self._tally.serving >= self._most:
            return "full"
        if self._sources is not None and (reason := self._sources.admit(address)):
            return reason
        self._tally.serving += 1
        return None

    def leave(self, address: object) -> None:
        """Count a client no more that was admitted."""
        self._tally.serving -= 1
        if self._sources is not None:
            self._sources.leave(address)

    def explain(self, reason: str) -> str:
        """Return what a client is told that is refused for a reason of :meth:`admit`."""
        limits = self._limits
        if reason == "source full":
            return (
                f"your address has {limits.max_connections_per_source:g} connections, which is "
                "the limit; closing, end one of them first"
            )
        if reason == "source rate":
            return (
                f"your address begins more than {limits.accept_rate:g} connections a second; "
                "closing, try again later"
            )
        return f"the server is full, serving {self._most}; closing, try again later"

    def refused(self, reason: str, peer: str, detail: str = "") -> None:
        """Count and log that a connection was refused; each reason once a second at the most."""
        self._tally.refused[reason] += 1
        self._seldom[reason].warn(
            "refused a connection: peer=%(peer)s reason=%(reason)r"
            + (" detail=%(detail)r" if detail else ""),
            {"peer": peer, "reason": reason, "detail": detail},
        )


def _affordable(wanted: int) -> int:
    """Return how many connections to serve at once, `wanted` at the most."""
    left = descriptors_left() - MOST_REFUSALS
    if wanted <= left:
        return wanted
    most = max(1, int(left))
    log.warning(
        "serving %(most)d connections at once, not %(wanted)d: the limit of open files "
        "(ulimit -n) leaves no more",
        {"most": most, "wanted": wanted},
    )
    return most
