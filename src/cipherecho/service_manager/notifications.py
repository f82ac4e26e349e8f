"""Reports to the service manager (sd_notify(3)): ready, reloading, stopping, alive.

Each is a datagram to the socket that ``NOTIFY_SOCKET`` names.  This needs no library, and managers
other than systemd understand it too.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

import trio

from cipherecho.service_manager.environment import is_for_us, number_in

__all__ = ["ServiceManager"]


class ServiceManager:
    """Reports the state of the process to the service manager, if there is one.

    No call blocks or fails because of the manager.  A message is lost if the manager has no room
    for it, or isn't there.  Close this at the end, or use it as a context manager.

        with ServiceManager() as manager:
            manager.ready()

    Args:
      variables: the environment; it isn't changed.

    Raises:
      VariableError: the watchdog's variables aren't numbers.
    """

    def __init__(self, variables: Mapping[str, str] = os.environ) -> None:
        self.watchdog_seconds = _watchdog_seconds(variables)
        # A leading "@" stands for the zero byte of an address in Linux's abstract namespace.
        self._address = re.sub("^@", "\0", variables.get("NOTIFY_SOCKET", ""))
        # Opened once, so that the watchdog is fed even when there are no more descriptors.
        self._socket: socket.socket | None = None
        if sys.platform != "win32" and self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            # A connection made now still works in a sandbox.
            with suppress(OSError):
                self._socket.connect(self._address)

    def __enter__(self) -> ServiceManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket to the manager, and report nothing any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ready(self) -> None:
        """Report that clients can connect, or that a reload has ended, successfully or not."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Report that a reload begins; call :meth:`ready` at its end.

        The message has the time.  From it, a manager of a unit with ``Type=notify-reload`` sees
        that this is the reload that it requested.
        """
        microseconds = time.monotonic_ns() // 1000  # CLOCK_MONOTONIC, where systemd is
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        """Report that a shutdown has begun."""
        self._tell("STOPPING=1")

    async def feed_watchdog(self) -> None:
        """Send the watchdog a sign of life at once, and then twice in each of its periods.

        The calling task sends it, so the signs stop when Trio's loop is blocked.  Without a
        watchdog, this returns at once; otherwise it runs until it is cancelled.
        """
        if self.watchdog_seconds is None:
            return
        while True:
            self._tell("WATCHDOG=1")
            await trio.sleep(self.watchdog_seconds / 2)

    def _tell(self, message: str) -> None:
        if self._socket is None:
            return
        text = message.encode(errors="replace")
        try:
            self._socket.send(text)
        except OSError:  # the manager was not there yet, has restarted, or is full
            with suppress(OSError):
                self._socket.sendto(text, self._address)


def _watchdog_seconds(variables: Mapping[str, str]) -> float | None:
    # Without a process number, it is meant for every process (sd_watchdog_enabled(3)).
    if "WATCHDOG_PID" in variables and not is_for_us(variables, "WATCHDOG_PID"):
        return None
    microseconds = number_in(variables, "WATCHDOG_USEC")
    return None if microseconds is None else microseconds / 1_000_000
