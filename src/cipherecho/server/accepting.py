"""Takes the clients that wait at a listening socket, and goes on whatever goes wrong."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from contextlib import suppress

import trio

from cipherecho.connections.express_lane import ExpressLane
from cipherecho.network.listeners import ListeningSocket
from cipherecho.network.sockets import accepting_socket, is_readable
from cipherecho.printable import safe_text
from cipherecho.server.admission import Admission

__all__ = ["Acceptor"]

log = logging.getLogger("cipherecho")

# So many clients are accepted between two turns of the program's other tasks, which
# takes a millisecond.
_MOST_ACCEPTED_AT_ONCE = 64

# When accepting fails, as when the system has no descriptors left, it is tried again after so long.
_RETRY_SECONDS = 0.25

# What `accept` says of a connection that broke while it waited to be accepted: Linux passes
# on the network's errors, and accept(2) lists these to be taken like that.
_BROKEN_IN_BACKLOG = {
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ENONET",
        "ENOPROTOOPT",
        "EOPNOTSUPP",
        "EPERM",
        "EPROTO",
    )
    if hasattr(errno, name)
}


class Acceptor:
    """Accepts the clients of one listening socket.

    It does so through a socket of its own, which :meth:`close` closes: one of Trio's would cost a
    turn of its scheduler for each client.

    Args:
      listening: where clients connect.
      greet: called with each client's socket and address, and takes it over.  If it raises, the
        socket is closed here, and that counts as a failure to accept.
      failed: called with why nobody could be accepted, to log it.
      admission: says when there is no place for one more client; there always is if None.
      lane: waits for clients together with those that it serves; this waits itself if None.
    """

    def __init__(
        self,
        listening: ListeningSocket,
        greet: Callable[[socket.socket, object], None],
        failed: Callable[[str], None],
        admission: Admission | None = None,
        lane: ExpressLane | None = None,
    ) -> None:
        self.listening = listening
        self._greet = greet
        self._failed = failed
        self._admission = admission
        self._lane = lane
        self._problem: BaseException | None = None  # why nobody could be accepted
        self._socket = accepting_socket(listening.socket)

    def close(self) -> None:
        """Accept nobody any more; the listening socket stays open."""
        self._socket.close()

    # Ctrl-C is meant for the program, and arrives elsewhere; what looks like it in what is done
    # for clients is a plugin's.
    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Accept clients until cancelled; if that fails, warn and try again."""
        while True:
            await self._accept()

    @trio.lowlevel.enable_ki_protection
    async def accept_last(self, until: float) -> None:
        """Accept those who wait, and return at `until`, by Trio's clock, if more keep coming."""
        self._lane = None
        try:
            while is_readable(self._socket) and trio.current_time() < until:
                await self._accept()
        except Exception as problem:
            with suppress(Exception):
                log.warning(
                    "can't accept the last connections: %(problem)s", {"problem": _words(problem)}
                )

    @trio.lowlevel.enable_ki_protection
    async def _accept(self) -> None:
        """Accept whoever waits or comes next; if that fails, warn and wait a little."""
        try:
            if self._admission is not None:
                await self._admission.wait_for_place()
            await self._accept_when_possible()
        except trio.Cancelled:
            raise
        except BaseException as raised:
            self._problem = raised
        problem, self._problem = self._problem, None
        if problem is not None:
            with suppress(Exception):
                self._failed(_words(problem))
            await trio.sleep(_RETRY_SECONDS)

    async def _accept_when_possible(self) -> None:
        if self._lane is not None:
            # The system may allow no more descriptors in such sets.
            with suppress(OSError):
                await self._lane.accept_from(self._socket, self._accept_waiting)
                return
        await trio.lowlevel.wait_readable(self._socket)
        self._accept_waiting()

    def _accept_waiting(self) -> bool:
        """Accept the clients that wait; return whether more can be accepted later.

        Nothing is raised: if nobody could be accepted, `_problem` says why.
        """
        admission = self._admission
        try:
            for _ in range(_MOST_ACCEPTED_AT_ONCE):
                if admission is not None and not admission.places:
                    return False
                accepted, address = self._socket.accept()
                try:
                    self._greet(accepted, address)
                except BaseException:
                    accepted.close()
                    raise
        except BlockingIOError:
            pass  # nobody else waits
        except BaseException as problem:
            if not isinstance(problem, OSError) or problem.errno not in _BROKEN_IN_BACKLOG:
                self._problem = problem
                return False
        return True


def _words(problem: BaseException) -> str:
    return (isinstance(problem, OSError) and problem.strerror) or safe_text(problem)
