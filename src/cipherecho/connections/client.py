"""A client that was accepted, and what it holds of the server until it is closed."""

from __future__ import annotations

from collections.abc import Callable

from cipherecho.network.sockets import Socket

__all__ = ["Client"]


class Client:
    """One client, from the moment it is accepted.

    However it comes to its end, :meth:`close` gives back all that it holds, once.

    Args:
      socket: its connection; may block or not, and is closed by :meth:`close`.
      address: as `accept` gives it, or the PROXY header that it began with.
      give_back: called once, when it is closed, with the client itself.
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
        """Whether it is counted among those that are served."""
        self.is_being_refused = False
        """Whether it is counted among those that are told why they are not served."""
        self.is_served = False
        """Whether it has a connection, which whoever drives that ends with it."""
        self.is_counted = False
        """Whether the metrics know why it was refused."""

    def close(self) -> None:
        """Close the socket and give back what the client holds; at the second call, nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back is None:
            return
        try:
            give_back(self)  # before the client sees the end
        finally:
            self.socket.close()
