"""Shares the event loop's time among the tasks of a server that code in it.

A thousand connections may each need the event loop for a millisecond.  If each took it as soon as
its task ran, everything else in the loop, such as a client of another server in the process, would
wait for a second.  So they code in turns: together for about a millisecond, then everything else
in the loop runs.
"""

from __future__ import annotations

import trio

from cipherecho.connections.offload.slow_ciphers import TURN_SECONDS

__all__ = ["Turns"]

# If no turn begins for this long, the callback that begins turns has failed.
_LONGEST_TURN_SECONDS = 5.0

# The weight of the newest job in the moving mean of their times.
_NEWEST_SHARE = 0.1


class Turns:
    """Lets tasks code for a millisecond at a time, between rounds of the event loop.

    Tasks take turns in the order in which they came.  When there is little to do, no task waits.
    """

    def __init__(self) -> None:
        self._spent = 0.0
        self._waiting = trio.lowlevel.ParkingLot()
        self._mean = TURN_SECONDS
        self._turn_ends = False
        self._number = 0

    @property
    def must_wait(self) -> bool:
        """Whether a task has to :meth:`wait` before it codes."""
        return self._turn_ends

    async def wait(self) -> None:
        """Wait for the caller's turn; return at once if no task has to wait."""
        waits = self._turn_ends
        while waits:
            number = self._number
            with trio.move_on_after(_LONGEST_TURN_SECONDS) as scope:
                await self._waiting.park()
            waits = scope.cancelled_caught and number != self._number

    def spend(self, seconds: float) -> None:
        """Record that the caller has just coded for so many seconds."""
        self._spent += seconds
        self._mean += _NEWEST_SHARE * (seconds - self._mean)
        if self._spent >= TURN_SECONDS and not self._turn_ends:
            self._end_turn()

    def _end_turn(self) -> None:
        # The loop calls this after everything else that is ready has run.
        trio.lowlevel.current_trio_token().run_sync_soon(self._begin_turn)
        self._turn_ends = True

    def _begin_turn(self) -> None:
        self._spent = 0
        self._turn_ends = False
        try:
            if self._waiting:
                self._waiting.unpark(count=max(1, int(TURN_SECONDS / max(self._mean, 1e-9))))
                self._number += 1  # only after unpark: `wait` takes a new number for a new turn
                # Tasks that come in the meantime wait behind the others.
                self._end_turn()
        except BaseException:  # noqa: S110 (it would end the program; `wait` has a time limit)
            pass
