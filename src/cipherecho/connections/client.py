"""An accepted client, and the resources of the server that it holds until it is closed."""

from __future__ import annotations

from collections.abc import Callable

from cipherecho.network.sockets import Socket

__all__ = ["Client"]


class Client:
    """One client, from the moment it is accepted.

    In every case, :meth:`close` gives back what the client holds, exactly once.

    Args:
      socket: its connection, blocking or not; :meth:`close` closes it.
      address: from `accept`, or from the PROXY header.
      give_back: called once with the client itself, when it is closed.
    """

    # There may be many thousands, most of them idle.
    __slots__ = (
        "_give_back",
        "address",
        "is_admitted",
        "is_being_refused",
        "is_counted",
        "is_served",
        "socket",
    )

    def __init__(
        self, socket: Socket, address: object, give_back: Callable[[Client], None]
    ) -> None:
        self.socket = socket
        self.address = address
        self._give_back: Callable[[Client], None] | None = give_back
        self.is_admitted = False
        """Whether it counts as served."""
        self.is_being_refused = False
        """Whether it counts as one of the refused clients that get an error line."""
        self.is_served = False
        """Whether it has a connection; the driver of that closes both."""
        self.is_counted = False
        """Whether the metrics have counted its refusal."""

    def close(self) -> None:
        """Close the socket and give back what the client holds; a second call does nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back is None:
            return
        try:
            give_back(self)  # before the client sees the end
        finally:
            self.socket.close()
