"""The event loop's time, given out to the tasks of a server that code in it.

A thousand connections may each have a millisecond's work to do in the event loop.  If each did
it when its task is run, whoever waits for the loop, such as a client of another server in the
process, would wait for a second.  So they do it in turns, of about a millisecond in all, and
everybody else has the loop between two of them.
"""

from __future__ import annotations

import trio

from cipherecho.connections.offload.slow_ciphers import TURN_SECONDS

__all__ = ["Turns"]

# If no turn has begun for so long, somebody who was to see to that has failed.
_LONGEST_TURN_SECONDS = 5.0

# How much the mean time of a job follows each of them.
_NEWEST_SHARE = 0.1


class Turns:
    """Lets tasks code for a millisecond between two looks at everything else.

    Who comes first is first, and as long as there is little to do, nobody waits.
    """

    def __init__(self) -> None:
        self._spent = 0.0
        self._waiting = trio.lowlevel.ParkingLot()
        self._mean = TURN_SECONDS
        self._turn_ends = False
        self._number = 0

    @property
    def must_wait(self) -> bool:
        """Whether whoever has something to code has to :meth:`wait` now."""
        return self._turn_ends

    async def wait(self) -> None:
        """Return when it is the caller's turn, at once if nobody has to wait."""
        waits = self._turn_ends
        while waits:
            number = self._number
            with trio.move_on_after(_LONGEST_TURN_SECONDS) as scope:
                await self._waiting.park()
            waits = scope.cancelled_caught and number != self._number

    def spend(self, seconds: float) -> None:
        """Say how long the caller coded just now."""
        self._spent += seconds
        self._mean += _NEWEST_SHARE * (seconds - self._mean)
        if self._spent >= TURN_SECONDS and not self._turn_ends:
            self._end_turn()

    def _end_turn(self) -> None:
        # This is done when everything else that is ready has been done.
        trio.lowlevel.current_trio_token().run_sync_soon(self._begin_turn)
        self._turn_ends = True

    def _begin_turn(self) -> None:
        self._spent = 0
        self._turn_ends = False
        try:
            if self._waiting:
                self._waiting.unpark(count=max(1, int(TURN_SECONDS / max(self._mean, 1e-9))))
                self._number += 1  # only now, or who waits takes it for one that has begun
                # Those who come meanwhile wait behind the others, or for those that were let in.
                self._end_turn()
        except BaseException:  # noqa: S110 (it would end the program; and nobody waits for ever)
            pass
