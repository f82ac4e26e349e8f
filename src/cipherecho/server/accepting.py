"""Accepts the clients of a listening socket, whatever goes wrong."""

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

# How many clients are accepted before the program's other tasks have a turn; they take a
# millisecond.
_MOST_ACCEPTED_AT_ONCE = 64

# How long to wait after accepting failed, for example without descriptors.
_RETRY_SECONDS = 0.25

# The errors of `accept` for a connection that broke in the backlog: Linux passes on network errors,
# and accept(2) lists them.
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

    It accepts through a duplicate of the listening socket, which :meth:`close` closes.  A Trio
    socket would cost a turn of the scheduler for each client.

    Args:
      listening: where clients connect.
      greet: called with each client's socket and address, and takes the client over.  If it raises,
        accepting has failed, and the socket is closed here.
      failed: called with the reason when accepting fails, to log it.
      admission: says whether there is a place for one more client; without it, there always is.
      lane: waits for clients together with its connections; without it, this waits itself.
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
        """Stop accepting; the listening socket stays open."""
        self._socket.close()

    # Ctrl-C is handled elsewhere. A KeyboardInterrupt while a client is handled comes from a
    # plugin.
    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Accept clients until cancelled; if that fails, warn and try again."""
        while True:
            await self._accept()

    @trio.lowlevel.enable_ki_protection
    async def accept_last(self, until: float) -> None:
        """Accept waiting clients, until none waits or until `until`, by Trio's clock."""
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
        """Wait for clients and accept them; if that fails, warn and wait a little."""
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
            # The system may refuse another descriptor in an epoll set.
            with suppress(OSError):
                await self._lane.accept_from(self._socket, self._accept_waiting)
                return
        await trio.lowlevel.wait_readable(self._socket)
        self._accept_waiting()

    def _accept_waiting(self) -> bool:
        """Accept waiting clients; return whether to go on waiting for more.

        This doesn't raise: after a failure, `_problem` says why.
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
