"""Taking the clients that wait at a listener."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from cipherecho.connections.client import Client
from cipherecho.network.certificates import Certificates
from cipherecho.network.listeners import ListeningSocket
from cipherecho.server.admission import Admission

__all__ = ["RETRY_SECONDS", "Entrance"]

# So many clients are accepted between two turns of the program's other tasks, which
# takes a millisecond.
_MOST_ACCEPTED_AT_ONCE = 64

RETRY_SECONDS = 0.25
"""When a listener fails, as when the system has no descriptors left, accepting is tried again
after so long."""

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


class Entrance:
    """Where clients come in: a listening socket, and another that accepts for it.

    Accepting by Trio would cost a turn of its scheduler for each client.

    Args:
      listening: where clients connect.
      socket: accepts them without waiting.
      admission: gives each client its place.
      receive: called with each client, and what TLS on it needs.
      lost: called with a client, and what `receive` raised for it.
    """

    def __init__(
        self,
        listening: ListeningSocket,
        socket: socket.socket,
        admission: Admission,
        receive: Callable[[Client, Certificates | None], None],
        lost: Callable[[Client, BaseException], None],
    ) -> None:
        self.listening = listening
        self.socket = socket
        self.problem: BaseException | None = None
        """Why nobody could be accepted."""
        self._admission = admission
        self._receive = receive
        self._lost = lost

    def accept(self) -> bool:
        """Accept the clients that wait; return whether more can be accepted later.

        Nothing is raised: if it could not, :attr:`problem` says why.
        """
        admission = self._admission
        try:
            for _ in range(_MOST_ACCEPTED_AT_ONCE):
                if not admission.places:
                    return False
                accepted, address = self.socket.accept()
                try:
                    client = Client(accepted, address, admission.give_back)
                except BaseException:
                    accepted.close()
                    raise
                admission.hold()
                try:
                    self._receive(client, self.listening.certificates)
                except BaseException as fault:
                    self._lost(client, fault)
        except BlockingIOError:
            pass  # nobody else waits
        except BaseException as problem:
            if not isinstance(problem, OSError) or problem.errno not in _BROKEN_IN_BACKLOG:
                self.problem = problem
                return False
        return True
